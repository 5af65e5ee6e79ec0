//! The database: all SQL of the program, in domain types. SQLite in one file, or Postgres.
//!
//! In: records of finished matches, accounts, lobbies, questions. Out: what is stored.
//! *Invariant:* an `Ok` from a write means that it survives a power cut (SQLite: WAL, synchronous FULL).
//! *Invariant:* both engines keep the same promises: every test of this module runs against both.
//! *Invariant:* each migration exists for SQLite and for Postgres under the same number.
//! Start reading at [`Store::open`], then [`engine`] and [`matches`].

pub mod engine;
pub mod matches;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use astro_shared::sim::units::MatchId;
use sqlx::SqlStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use engine::{Engine, PostgresLimits, Session, Transaction};

/// Name of the database file in the data folder.
pub const FILE_NAME: &str = "astro.db";
/// How long a statement waits for a lock that another process holds (a backup, a shell), and how long a
/// request waits for a free connection, before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that read. Each is one thread; reads here take well under a millisecond.
const READERS_MAX: u32 = 4;

/// The store could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot open the database {path}: {source}")]
    Open { path: PathBuf, source: sqlx::Error },
    /// The address may hold a password, so it is not shown.
    #[error("cannot connect to Postgres: {0}")]
    Connect(#[source] sqlx::Error),
    #[error("the database is at version {found}, this program wants {wanted}: run `astro-server migrate` first")]
    Version { found: i64, wanted: i64 },
    #[error("cannot migrate the database: {0}")]
    Migrate(#[from] MigrateError),
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// These matches are stored with another result. The deliveries were set aside; all others are stored.
    #[error("{} of the results contradict what is stored, the first for match {}", .0.len(), .0[0])]
    Conflict(Vec<MatchId>),
}

impl StoreError {
    /// Whether a row was refused because another one has its key or its name.
    pub fn is_unique(&self) -> bool {
        matches!(self, StoreError::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }

    /// Whether nothing was done and the same may well work now: Postgres ended one of two that waited for each other.
    pub fn is_transient(&self) -> bool {
        let code = match self {
            StoreError::Database(sqlx::Error::Database(error)) => error.code(),
            _ => None,
        };
        code.is_some_and(|code| code == "40001" || code == "40P01")
    }
}

/// A handle to the database. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Store {
    engine: Engine,
}

impl Store {
    /// Opens the database file in `folder`, makes it when it is missing, and brings its tables up to date.
    ///
    /// Only one process may do this at a time: whoever calls holds the data folder's lock.
    ///
    /// # Errors
    /// When the file cannot be opened, or was written by a newer program.
    pub async fn open(folder: &Path) -> Result<Store, StoreError> {
        let path = folder.join(FILE_NAME);
        let broken = |source| StoreError::Open { path: path.clone(), source };
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let writer = sqlite_pool(1).connect_with(options.clone()).await.map_err(broken)?;
        migrator(SQLITE).run(&writer).await?;
        let readers = sqlite_pool(READERS_MAX).connect_with(options.read_only(true)).await.map_err(broken)?;
        Ok(Store { engine: Engine::Sqlite { writer, readers } })
    }

    /// Connects to Postgres at `url`, whose tables must be up to date: [`Store::migrate_postgres`] does that.
    ///
    /// # Errors
    /// When it does not answer, refuses, or has tables of another version.
    pub async fn connect(url: &str, limits: PostgresLimits) -> Result<Store, StoreError> {
        let store = Store::connect_unchecked(url, limits).await?;
        let (found, wanted) = (store.version().await.unwrap_or(0), newest_migration());
        if found < wanted {
            return Err(StoreError::Version { found, wanted });
        }
        Ok(store)
    }

    /// Brings the tables of a Postgres up to date; any number of programs may try at once. Answers with the version.
    ///
    /// # Errors
    /// When it does not answer, or was migrated by a newer program.
    pub async fn migrate_postgres(url: &str) -> Result<i64, StoreError> {
        // A migration may take as long as it takes.
        let patient = PostgresLimits {
            connections_max: 1,
            statement_timeout: Duration::ZERO,
            lock_timeout: Duration::ZERO,
            ..PostgresLimits::default()
        };
        let store = Store::connect_unchecked(url, patient).await?;
        if let Engine::Postgres(pool) = &store.engine {
            migrator(POSTGRES).run(pool).await?;
        }
        let version = store.version().await;
        store.close().await;
        version
    }

    async fn connect_unchecked(url: &str, limits: PostgresLimits) -> Result<Store, StoreError> {
        let milliseconds = |time: Duration| time.as_millis().to_string();
        let options =
            PgConnectOptions::from_str(url).map_err(StoreError::Connect)?.application_name("astro-server").options([
                ("statement_timeout", milliseconds(limits.statement_timeout)),
                ("lock_timeout", milliseconds(limits.lock_timeout)),
            ]);
        let pool = PgPoolOptions::new()
            .max_connections(limits.connections_max)
            .acquire_timeout(limits.acquire_timeout)
            .connect_with(options)
            .await
            .map_err(StoreError::Connect)?;
        Ok(Store { engine: Engine::Postgres(pool) })
    }

    /// A connection for reading.
    async fn read(&self) -> Result<Session, StoreError> {
        self.engine.read().await
    }

    /// A transaction that may write.
    async fn begin(&self) -> Result<Transaction, StoreError> {
        self.engine.begin().await
    }

    /// Whether the database answers a read.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read().await?.row("SELECT 1 FROM matches LIMIT 1", vec![]).await?;
        Ok(())
    }

    /// Results that were set aside because they contradict what is stored, and that nobody has dealt with.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn conflicts(&self) -> Result<i64, StoreError> {
        self.scalar("SELECT count(*) AS found FROM match_conflicts").await
    }

    /// Number of the newest migration that has been applied.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn version(&self) -> Result<i64, StoreError> {
        self.scalar("SELECT max(version) AS found FROM _sqlx_migrations").await
    }

    /// The number `found` of a statement that always has one.
    async fn scalar(&self, sql: &'static str) -> Result<i64, StoreError> {
        let row = self.read().await?.row(sql, vec![]).await?;
        row.ok_or(StoreError::Database(sqlx::Error::RowNotFound))?.i64("found")
    }

    /// Ends all connections; SQLite's write-ahead log is folded into the file.
    pub async fn close(&self) {
        self.engine.close().await;
    }
}

fn sqlite_pool(connections: u32) -> SqlitePoolOptions {
    // Connections to a file neither go stale nor cost anything while idle.
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(BUSY_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

/// Which of a migration's two texts.
type Dialect = fn(&Script) -> &'static str;
const SQLITE: Dialect = |script| script.sqlite;
const POSTGRES: Dialect = |script| script.postgres;

/// One migration, for both engines.
struct Script {
    version: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

/// Lists migrations as `NUMBER "FILE" name`.
macro_rules! scripts {
    ($($version:literal $file:literal $name:literal;)+) => {
        &[$(Script {
            version: $version,
            name: $name,
            sqlite: include_str!(concat!("../../../migrations/sqlite/", $file, ".sql")),
            postgres: include_str!(concat!("../../../migrations/postgres/", $file, ".sql")),
        }),+]
    };
}

/// Every migration there is, oldest first.
const SCRIPTS: &[Script] = scripts! {
    1 "0001_matches" "matches";
    2 "0002_voids" "voids";
};

fn migrator(dialect: Dialect) -> Migrator {
    let migration = |script: &Script| {
        let sql = SqlStr::from_static(dialect(script));
        Migration::new(script.version, Cow::Borrowed(script.name), MigrationType::Simple, sql, false)
    };
    Migrator::with_migrations(SCRIPTS.iter().map(migration).collect())
}

fn newest_migration() -> i64 {
    SCRIPTS.last().map_or(0, |script| script.version)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::engine::params;
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    static NUMBER: AtomicU32 = AtomicU32::new(0);

    /// A folder of one test, gone when it ends.
    pub(crate) struct Folder(pub PathBuf);

    impl Folder {
        pub(crate) fn new() -> Folder {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("astro-test-{}-{number}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    impl Store {
        /// What a person does once he has dealt with them.
        pub(crate) async fn forget_conflicts(&self) {
            let mut transaction = self.begin().await.unwrap();
            transaction.execute("DELETE FROM match_conflicts", vec![]).await.unwrap();
            transaction.commit().await.unwrap();
        }

        /// Rows of a table.
        pub(crate) async fn count(&self, sql: &'static str) -> i64 {
            self.scalar(sql).await.unwrap()
        }
    }

    /// Runs a test that waits for something.
    pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
    }

    /// A Postgres schema of one test's own.
    async fn postgres() -> Store {
        let url = std::env::var("ASTRO_TEST_POSTGRES").expect("ASTRO_TEST_POSTGRES names a server: use tests/run");
        let schema = format!("t{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let admin = PgPoolOptions::new().max_connections(1).connect(&url).await.expect("Postgres answers");
        let statement = sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
        sqlx::query(statement).execute(&admin).await.unwrap();
        admin.close().await;
        let separator = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{separator}options=-csearch_path%3D{schema}");
        Store::migrate_postgres(&url).await.unwrap();
        Store::connect(&url, PostgresLimits::default()).await.unwrap()
    }

    /// Runs a dialogue with a fresh database of each engine. Every test of the store goes through here.
    pub(crate) fn both(test: impl AsyncFn(&Store)) {
        block_on(async {
            let folder = Folder::new();
            for store in [Store::open(&folder.0).await.unwrap(), postgres().await] {
                test(&store).await;
                store.close().await;
            }
        });
    }

    #[test]
    fn both_dialects_have_the_same_migrations() {
        let names = |dialect: &str| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(dialect);
            let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names("sqlite"), names("postgres"));
        assert_eq!(names("sqlite").len(), SCRIPTS.len(), "a migration is not in the list");
    }

    #[test]
    fn a_reopened_database_keeps_its_version_and_its_promises() {
        block_on(async {
            let folder = Folder::new();
            for _ in 0..2 {
                let store = Store::open(&folder.0).await.unwrap();
                store.ping().await.unwrap();
                assert_eq!(store.version().await.unwrap(), newest_migration());
                let Engine::Sqlite { writer, .. } = &store.engine else { panic!("a folder holds SQLite") };
                let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(writer).await.unwrap();
                let full: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(writer).await.unwrap();
                let keys: i64 = sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(writer).await.unwrap();
                assert_eq!((mode.as_str(), full, keys), ("wal", 2, 1));
                store.close().await;
            }
        });
    }

    /// Broken by a transaction that is committed when it is dropped.
    #[test]
    fn a_dropped_transaction_changes_nothing() {
        both(async |store| {
            let sql = "INSERT INTO match_conflicts (match_id, body_sha256, body) VALUES ($1, $2, $3)";
            store.store_results(&[crate::records::tests::record(1)]).await.unwrap();
            let mut transaction = store.begin().await.unwrap();
            let values = params![1u128.to_be_bytes(), [7u8; 32], vec![1u8]];
            assert_eq!(transaction.execute(sql, values).await.unwrap(), 1);
            drop(transaction);
            assert_eq!(store.conflicts().await.unwrap(), 0);
        });
    }

    /// Broken by telling a refused row from a lost connection by its words.
    #[test]
    fn a_second_row_of_the_same_key_is_told_from_other_errors() {
        both(async |store| {
            store.store_results(&[crate::records::tests::record(1)]).await.unwrap();
            let sql = "INSERT INTO match_replays (match_id, replay) VALUES ($1, $2)";
            let mut again = store.begin().await.unwrap();
            let error = again.execute(sql, params![1u128.to_be_bytes(), vec![1u8]]).await.unwrap_err();
            assert!(error.is_unique(), "{error}");
            drop(again);
            let mut orphan = store.begin().await.unwrap();
            let error = orphan.execute(sql, params![9u128.to_be_bytes(), vec![1u8]]).await.unwrap_err();
            assert!(!error.is_unique(), "{error}");
        });
    }
}
