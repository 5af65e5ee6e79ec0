//! One text of SQL, two engines: SQLite in one file, or Postgres.
//!
//! In: a statement with `$1` placeholders and its values. Out: rows, or how many were changed.
//! *Invariant:* values only ever travel as parameters; the text of a statement is fixed when the program is built.
//! *Invariant:* a [`Transaction`] that is dropped changes nothing.
//! *Invariant:* in SQLite one transaction writes at a time; it waits for its turn before it begins, never in the middle.
//! Columns are integers, text and bytes, so that both engines mean the same. sqlx's own `Any` driver would do, but for its
//! connection options, which are those of neither engine. Start reading at [`Transaction`].

use std::time::Duration;

use sqlx::postgres::{PgArguments, PgPool, PgRow};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqlitePool, SqliteRow};
use sqlx::{Column as _, Postgres, Row as _, Sqlite, TypeInfo as _};

use super::StoreError;

/// The connections to the database.
#[derive(Clone, Debug)]
pub(super) enum Engine {
    Sqlite {
        /// Of one connection.
        writer: SqlitePool,
        readers: SqlitePool,
    },
    Postgres(PgPool),
}

/// A statement: one text for both engines, or one each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sql {
    sqlite: &'static str,
    postgres: &'static str,
}

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Sql {
        Sql { sqlite: text, postgres: text }
    }
}

impl Sql {
    /// Where the engines need different words, such as for locking rows.
    #[allow(dead_code, reason = "what the store asks of this needs it next")]
    pub const fn per_engine(sqlite: &'static str, postgres: &'static str) -> Sql {
        Sql { sqlite, postgres }
    }
}

/// A parameter. Numbers are 64 bits wide on the way; the column decides what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Integer(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

macro_rules! values {
    ($($type:ty => $kind:ident($value:ident) $made:expr;)+) => {$(
        impl From<$type> for Value {
            fn from($value: $type) -> Value {
                Value::$kind(Some($made))
            }
        }

        impl From<Option<$type>> for Value {
            fn from(value: Option<$type>) -> Value {
                Value::$kind(value.map(|$value| $made))
            }
        }
    )+};
}

values! {
    i64 => Integer(value) value;
    u64 => Integer(value) value.cast_signed();
    i32 => Integer(value) value.into();
    u32 => Integer(value) value.into();
    u16 => Integer(value) value.into();
    u8 => Integer(value) value.into();
    bool => Integer(value) value.into();
    &str => Text(value) value.into();
    String => Text(value) value;
    &String => Text(value) value.clone();
    &[u8] => Bytes(value) value.into();
    [u8; 16] => Bytes(value) value.into();
    [u8; 32] => Bytes(value) value.into();
    Vec<u8> => Bytes(value) value;
}

/// The values of a statement, in the order of its placeholders.
macro_rules! params {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::engine::Value::from($value)),*] };
}
pub(super) use params;

/// Binds values, whose order is that of the placeholders.
macro_rules! bound {
    ($sql:expr, $params:expr, $engine:ty, $arguments:ty) => {{
        let query: Query<'_, $engine, $arguments> = sqlx::query($sql);
        $params.into_iter().fold(query, |query, value| match value {
            Value::Integer(value) => query.bind(value),
            Value::Text(value) => query.bind(value),
            Value::Bytes(value) => query.bind(value),
        })
    }};
}

/// A connection, borrowed for one thing after the other. Each statement is a transaction of its own.
pub(super) enum Session {
    Sqlite(sqlx::pool::PoolConnection<Sqlite>),
    Postgres(sqlx::pool::PoolConnection<Postgres>),
}

/// Statements that happen all or not at all.
pub(super) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

/// What can be asked of a connection, in or out of a transaction.
macro_rules! statements {
    ($type:ident) => {
        #[allow(dead_code, reason = "both have the same doors, whether each is used or not")]
        impl $type {
            /// Carries a statement out and says how many rows it changed.
            pub async fn execute(&mut self, sql: impl Into<Sql>, params: Vec<Value>) -> Result<u64, StoreError> {
                let sql = sql.into();
                Ok(match self {
                    $type::Sqlite(connection) => {
                        let query = bound!(sql.sqlite, params, Sqlite, SqliteArguments);
                        query.execute(&mut **connection).await?.rows_affected()
                    }
                    $type::Postgres(connection) => {
                        let query = bound!(sql.postgres, params, Postgres, PgArguments);
                        query.execute(&mut **connection).await?.rows_affected()
                    }
                })
            }

            /// All rows of an answer. The statement itself limits how many there are.
            pub async fn rows(&mut self, sql: impl Into<Sql>, params: Vec<Value>) -> Result<Vec<Row>, StoreError> {
                let sql = sql.into();
                Ok(match self {
                    $type::Sqlite(connection) => {
                        let query = bound!(sql.sqlite, params, Sqlite, SqliteArguments);
                        query.fetch_all(&mut **connection).await?.into_iter().map(Row::Sqlite).collect()
                    }
                    $type::Postgres(connection) => {
                        let query = bound!(sql.postgres, params, Postgres, PgArguments);
                        query.fetch_all(&mut **connection).await?.into_iter().map(Row::Postgres).collect()
                    }
                })
            }

            /// The first row of an answer, if there is one.
            pub async fn row(&mut self, sql: impl Into<Sql>, params: Vec<Value>) -> Result<Option<Row>, StoreError> {
                let sql = sql.into();
                Ok(match self {
                    $type::Sqlite(connection) => {
                        let query = bound!(sql.sqlite, params, Sqlite, SqliteArguments);
                        query.fetch_optional(&mut **connection).await?.map(Row::Sqlite)
                    }
                    $type::Postgres(connection) => {
                        let query = bound!(sql.postgres, params, Postgres, PgArguments);
                        query.fetch_optional(&mut **connection).await?.map(Row::Postgres)
                    }
                })
            }
        }
    };
}

statements!(Session);
statements!(Transaction);

impl Transaction {
    /// Makes everything durable; until then nobody else sees any of it.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self {
            Transaction::Sqlite(transaction) => transaction.commit().await?,
            Transaction::Postgres(transaction) => transaction.commit().await?,
        }
        Ok(())
    }
}

impl Engine {
    /// A connection for reading.
    pub async fn read(&self) -> Result<Session, StoreError> {
        Ok(match self {
            Engine::Sqlite { readers, .. } => Session::Sqlite(readers.acquire().await?),
            Engine::Postgres(pool) => Session::Postgres(pool.acquire().await?),
        })
    }

    /// A transaction that may write.
    pub async fn begin(&self) -> Result<Transaction, StoreError> {
        Ok(match self {
            Engine::Sqlite { writer, .. } => Transaction::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?),
            Engine::Postgres(pool) => Transaction::Postgres(pool.begin().await?),
        })
    }

    /// Ends all connections; SQLite folds its write-ahead log into the file.
    pub async fn close(&self) {
        match self {
            Engine::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Engine::Postgres(pool) => pool.close().await,
        }
    }
}

/// A row of an answer; columns go by name.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// A column of one kind, null or not.
macro_rules! column {
    ($row:expr, $name:expr, $type:ty) => {
        match $row {
            Row::Sqlite(row) => row.try_get::<Option<$type>, _>($name),
            Row::Postgres(row) => row.try_get::<Option<$type>, _>($name),
        }
    };
}

fn null(name: &str) -> StoreError {
    StoreError::Database(sqlx::Error::Decode(format!("column {name} is null").into()))
}

impl Row {
    pub fn option_i64(&self, name: &str) -> Result<Option<i64>, StoreError> {
        Ok(match self {
            Row::Sqlite(row) => row.try_get(name)?,
            // Postgres keeps to the width of the column.
            Row::Postgres(row) => match row.column(name).type_info().name() {
                "INT2" => row.try_get::<Option<i16>, _>(name)?.map(i64::from),
                "INT4" => row.try_get::<Option<i32>, _>(name)?.map(i64::from),
                _ => row.try_get(name)?,
            },
        })
    }

    pub fn i64(&self, name: &str) -> Result<i64, StoreError> {
        self.option_i64(name)?.ok_or_else(|| null(name))
    }

    /// A number that fits into a narrower type.
    pub fn number<T: TryFrom<i64>>(&self, name: &str) -> Result<T, StoreError> {
        let number = self.i64(name)?;
        T::try_from(number).map_err(|_| misfit(name, number))
    }

    pub fn option_number<T: TryFrom<i64>>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let number = self.option_i64(name)?;
        number.map(|number| T::try_from(number).map_err(|_| misfit(name, number))).transpose()
    }

    /// A column that holds 0 or 1.
    pub fn flag(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.i64(name)? != 0)
    }

    pub fn option_text(&self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(column!(self, name, String)?)
    }

    pub fn text(&self, name: &str) -> Result<String, StoreError> {
        self.option_text(name)?.ok_or_else(|| null(name))
    }

    pub fn option_bytes(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(column!(self, name, Vec<u8>)?)
    }

    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        self.option_bytes(name)?.ok_or_else(|| null(name))
    }

    /// An id of 128 bits.
    pub fn id(&self, name: &str) -> Result<u128, StoreError> {
        self.option_id(name)?.ok_or_else(|| null(name))
    }

    pub fn option_id(&self, name: &str) -> Result<Option<u128>, StoreError> {
        let id = |bytes: Vec<u8>| <[u8; 16]>::try_from(bytes).map(u128::from_be_bytes);
        let wrong = |_| StoreError::Database(sqlx::Error::Decode(format!("column {name} is no id of 16 bytes").into()));
        self.option_bytes(name)?.map(id).transpose().map_err(wrong)
    }
}

fn misfit(name: &str, number: i64) -> StoreError {
    StoreError::Database(sqlx::Error::Decode(format!("column {name} holds {number}, which cannot be").into()))
}

/// How a pool of Postgres connections behaves.
#[derive(Clone, Copy, Debug)]
pub struct PostgresLimits {
    pub connections_max: u32,
    /// How long a request waits for a free connection.
    pub acquire_timeout: Duration,
    /// How long one statement, and its wait for a lock, may take.
    pub statement_timeout: Duration,
    pub lock_timeout: Duration,
}

impl Default for PostgresLimits {
    /// Twice the cores of a small database machine; nobody waits longer than a person would.
    fn default() -> PostgresLimits {
        PostgresLimits {
            connections_max: 8,
            acquire_timeout: Duration::from_secs(1),
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(2),
        }
    }
}
