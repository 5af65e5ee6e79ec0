//! Promise: every migration exists in both dialects, applies to a real server of each, and makes the same tables.
//!
//! Postgres comes from `tests/run` (`ASTRO_TEST_POSTGRES`); without it this fails.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{AssertSqlSafe, SqlSafeStr};

fn files(dialect: &str) -> BTreeMap<String, String> {
    let folder = format!("{}/../migrations/{dialect}", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(&folder).expect(&folder);
    let read = |entry: std::fs::DirEntry| {
        let text = std::fs::read_to_string(entry.path()).expect("text");
        (entry.file_name().to_string_lossy().into_owned(), text)
    };
    entries.map(|entry| read(entry.expect("an entry"))).collect()
}

fn migrator(dialect: &str) -> Migrator {
    let migration = |(name, text): (String, String)| {
        let (number, rest) = name.split_once('_').expect("NNNN_name.sql");
        let description = rest.trim_end_matches(".sql").to_owned();
        let sql = AssertSqlSafe(text).into_sql_str();
        let number = number.parse().expect("a number");
        Migration::new(number, description.into(), MigrationType::Simple, sql, false)
    };
    Migrator::with_migrations(files(dialect).into_iter().map(migration).collect())
}

/// `table.column` for every column that is ours.
type Columns = BTreeSet<String>;

async fn postgres_columns() -> Columns {
    let url = std::env::var("ASTRO_TEST_POSTGRES").expect("ASTRO_TEST_POSTGRES names a server: use tests/run");
    let pool = PgPoolOptions::new().max_connections(1).connect(&url).await.expect("Postgres answers");
    sqlx::query("DROP SCHEMA public CASCADE").execute(&pool).await.expect("a fresh schema");
    sqlx::query("CREATE SCHEMA public").execute(&pool).await.expect("a fresh schema");
    migrator("postgres").run(&pool).await.expect("applies");
    migrator("postgres").run(&pool).await.expect("applying twice changes nothing");
    let columns = sqlx::query_scalar::<_, String>(
        "SELECT table_name || '.' || column_name FROM information_schema.columns \
         WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx%'",
    );
    columns.fetch_all(&pool).await.expect("columns").into_iter().collect()
}

async fn sqlite_columns() -> Columns {
    let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.expect("SQLite");
    migrator("sqlite").run(&pool).await.expect("applies");
    migrator("sqlite").run(&pool).await.expect("applying twice changes nothing");
    let columns = sqlx::query_scalar::<_, String>(
        "SELECT m.name || '.' || c.name FROM sqlite_master m, pragma_table_info(m.name) c \
         WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite%'",
    );
    columns.fetch_all(&pool).await.expect("columns").into_iter().collect()
}

#[test]
fn both_dialects_have_the_same_migrations() {
    let names = |dialect| files(dialect).into_keys().collect::<Vec<_>>();
    assert_eq!(names("postgres"), names("sqlite"));
    assert!(!names("sqlite").is_empty());
}

#[tokio::test]
async fn both_dialects_apply_and_make_the_same_tables() {
    let (postgres, sqlite) = (postgres_columns().await, sqlite_columns().await);
    assert!(postgres.contains("matches.match_id") && postgres.contains("match_replays.replay"), "{postgres:?}");
    assert_eq!(postgres, sqlite);
}
