//! One error type for everything that talks to a database or a person, and the one map from error to what happens next.

use tokio_postgres::error::SqlState;

/// What went wrong. Display is one line that a person can act on; it never holds a row's values.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line, the environment or daybook.toml says something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// The database cannot be reached, is too old, or lets us do too little.
    #[error("{0}")]
    Unreachable(String),
    /// daybook is not there, or not whole.
    #[error("{0}")]
    NotInstalled(String),
    /// Source and ledger are not those that knew each other.
    #[error("{0}")]
    Strangers(String),
    /// A statement failed.
    #[error("{doing}: {}", explain(source))]
    Database { doing: &'static str, source: tokio_postgres::Error },
    /// The bill table cannot be read as it was attached.
    #[error("{0}")]
    TableUnreadable(String),
    /// The rule, the book or the table's columns are not those that the worker has prepared for; it looks again.
    #[error("the definition of {0} has changed meanwhile")]
    DefinitionChanged(String),
    /// Our own expectation failed; a bug, or somebody changed our tables.
    #[error("{0}")]
    Unexpected(String),
    #[error("{doing}: {source}")]
    Io { doing: String, source: std::io::Error },
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What happens after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// The same again, soon; an error that a bill causes alone uses up one of its attempts.
    Retry,
    /// A server is away or unwilling, or somebody's DDL locks a table: again later, uses up nothing, ever.
    Wait,
    /// The bill's own data cannot be posted: parked at once.
    Park,
    /// The installation, a privilege or a definition is wrong: nothing can go on until a person mends it. The table or the
    /// source stops with an alert and keeps trying slowly.
    Halt,
}

impl Error {
    pub fn next_step(&self) -> NextStep {
        match self {
            Error::Usage(_) | Error::NotInstalled(_) | Error::TableUnreadable(_) | Error::Strangers(_) => {
                NextStep::Halt
            }
            Error::Unreachable(_) | Error::Io { .. } => NextStep::Wait,
            Error::DefinitionChanged(_) | Error::Unexpected(_) => NextStep::Retry,
            Error::Database { source, .. } => match source.code() {
                Some(state) => next_step_of_sqlstate(state.code()),
                None if source.is_closed()
                    || std::error::Error::source(source).is_some_and(|e| e.is::<std::io::Error>()) =>
                {
                    NextStep::Wait
                }
                None => NextStep::Retry, // a value that could not be encoded or decoded
            },
        }
    }

    /// Whether everything stops until a person has acted: the two databases, or they and this program, do not belong together.
    pub fn ends_all_work(&self) -> bool {
        matches!(self, Error::Strangers(_) | Error::NotInstalled(_))
    }

    /// Whether the databases hold what our own rules exclude: a status row that disagrees with the journal, a number that was given
    /// twice. Our own inserts never meet a key that is there, but then.
    pub fn is_impossible(&self) -> bool {
        match self {
            Error::Unexpected(_) => true,
            Error::Database { source, .. } => source.code() == Some(&SqlState::UNIQUE_VIOLATION),
            _ => false,
        }
    }

    /// The exit code of a command that ends with this error: 2 usage or configuration, 3 unreachable or not installed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) => 2,
            _ => 3,
        }
    }
}

/// The class of an SQLSTATE (PostgreSQL documentation, appendix A).
fn next_step_of_sqlstate(state: &str) -> NextStep {
    match state {
        // serialization failure, deadlock; statement and idle timeouts
        "40001" | "40P01" | "57014" | "25P03" => NextStep::Retry,
        // a lock that somebody holds; read-only transaction (a standby); database being dropped or missing
        "55P03" | "25006" | "3D000" => NextStep::Wait,
        "42501" => NextStep::Halt,
        _ => match &state[..2] {
            "08" | "28" | "53" | "57" | "58" => NextStep::Wait,
            // data, constraints, limits of the program such as the longest key of an index
            "22" | "23" | "54" => NextStep::Park,
            "0A" | "3F" | "42" => NextStep::Halt,
            _ => NextStep::Retry,
        },
    }
}

/// One line of what a database error says: the server's message and hint, or the innermost cause.
pub fn explain(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        // A detail may quote a row: "Failing row contains (…)". It is left out.
        return format!("{}{hint}", error.message()).replace('\n', " ");
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string().replace('\n', " ")
}

/// Whether the error says that a relation, column or function is not there.
pub fn is_undefined(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|state| {
        [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_FUNCTION, SqlState::INVALID_SCHEMA_NAME].contains(state)
    })
}

/// Names what was being done when a statement failed.
pub trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T>;
}

impl<T> Doing<T> for Result<T, tokio_postgres::Error> {
    fn doing(self, doing: &'static str) -> Result<T> {
        self.map_err(|source| Error::Database { doing, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sqlstate_leads_to_one_next_step() {
        let table = [
            ("40001", NextStep::Retry), // serialization_failure
            ("40P01", NextStep::Retry), // deadlock_detected
            ("55P03", NextStep::Wait),  // lock_not_available
            ("57014", NextStep::Retry), // query_canceled, by statement_timeout
            ("57P01", NextStep::Wait),  // admin_shutdown
            ("57P03", NextStep::Wait),  // cannot_connect_now
            ("53300", NextStep::Wait),  // too_many_connections
            ("53100", NextStep::Wait),  // disk_full
            ("53400", NextStep::Wait),  // configuration_limit_exceeded
            ("08006", NextStep::Wait),  // connection_failure
            ("57P05", NextStep::Wait),  // idle_session_timeout
            ("58030", NextStep::Wait),  // io_error
            ("3D000", NextStep::Wait),  // invalid_catalog_name
            ("25P03", NextStep::Retry), // idle_in_transaction_session_timeout
            ("54000", NextStep::Park),  // program_limit_exceeded
            ("28P01", NextStep::Wait),  // invalid_password
            ("25006", NextStep::Wait),  // read_only_sql_transaction
            ("22003", NextStep::Park),  // numeric_value_out_of_range
            ("23514", NextStep::Park),  // check_violation
            ("42501", NextStep::Halt),  // insufficient_privilege
            ("42P01", NextStep::Halt),  // undefined_table
            ("42703", NextStep::Halt),  // undefined_column
            ("3F000", NextStep::Halt),  // invalid_schema_name
            ("0A000", NextStep::Halt),  // feature_not_supported
            ("XX000", NextStep::Retry), // internal_error
        ];
        for (state, expected) in table {
            assert_eq!(next_step_of_sqlstate(state), expected, "{state}");
        }
    }
}
