//! The database: all SQL of the program, in domain types. SQLite in one file for now.
//!
//! In: records of finished matches, questions. Out: what is stored.
//! *Invariant:* an `Ok` from a write means that it survives a power cut (WAL, synchronous FULL).
//! *Invariant:* one connection writes; readers never wait for it and it never waits for them.
//! *Invariant:* each migration exists for SQLite and for Postgres under the same number.
//! Start reading at [`Store::open`], then [`matches`].

pub mod matches;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use astro_shared::sim::units::MatchId;
use sqlx::SqlStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

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
    #[error("cannot migrate the database: {0}")]
    Migrate(#[from] MigrateError),
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// These matches are stored with another result. The deliveries were set aside; all others are stored.
    #[error("{} of the results contradict what is stored, the first for match {}", .0.len(), .0[0])]
    Conflict(Vec<MatchId>),
}

/// A handle to the database. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
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
        let writer = pool(1).connect_with(options.clone()).await.map_err(broken)?;
        migrator().run(&writer).await?;
        let readers = pool(READERS_MAX).connect_with(options.read_only(true)).await.map_err(broken)?;
        Ok(Store { writer, readers })
    }

    /// Whether the database answers a read.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1 FROM matches LIMIT 1").fetch_optional(&self.readers).await?;
        Ok(())
    }

    /// Results that were set aside because they contradict what is stored, and that nobody has dealt with.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn conflicts(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar("SELECT count(*) FROM match_conflicts").fetch_one(&self.readers).await?)
    }

    /// Number of the newest migration that has been applied.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn version(&self) -> Result<i64, StoreError> {
        Ok(sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(&self.readers).await?)
    }

    /// Ends all connections; the write-ahead log is folded into the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

fn pool(connections: u32) -> SqlitePoolOptions {
    // Connections to a file neither go stale nor cost anything while idle.
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(BUSY_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

fn migrator() -> Migrator {
    let migration = |version, name, sql| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, SqlStr::from_static(sql), false)
    };
    Migrator::with_migrations(vec![
        migration(1, "matches", include_str!("../../../migrations/sqlite/0001_matches.sql")),
        migration(2, "voids", include_str!("../../../migrations/sqlite/0002_voids.sql")),
    ])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A folder of one test, gone when it ends.
    pub(crate) struct Folder(pub PathBuf);

    impl Folder {
        pub(crate) fn new() -> Folder {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
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
            sqlx::query("DELETE FROM match_conflicts").execute(&self.writer).await.unwrap();
        }
    }

    /// Runs a test that waits for something.
    pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
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
        assert_eq!(names("sqlite").len(), migrator().iter().count(), "a migration is not in the list");
    }

    #[test]
    fn a_reopened_database_keeps_its_version_and_its_promises() {
        block_on(async {
            let folder = Folder::new();
            for _ in 0..2 {
                let store = Store::open(&folder.0).await.unwrap();
                store.ping().await.unwrap();
                assert_eq!(store.version().await.unwrap(), 2);
                let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&store.writer).await.unwrap();
                let full: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&store.writer).await.unwrap();
                let keys: i64 = sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(&store.writer).await.unwrap();
                assert_eq!((mode.as_str(), full, keys), ("wal", 2, 1));
                store.close().await;
            }
        });
    }
}
