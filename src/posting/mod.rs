//! The posting core: what a bill's row should amount to in the ledger, and which entries lead there.
//!
//! In go a [`rule::RuleSet`], the mapped columns of a row as text, the bill's live entries and the day of the change; out come
//! [`entries::Entry`] values, or why the bill must be parked. Nothing here knows a clock, a connection or a runtime.

pub mod amount;
mod compile;
pub mod desired;
pub mod entries;
pub mod fingerprint;
pub mod lines;
pub mod rule;
pub(crate) mod rule_file;

/// Why a bill cannot be posted, for a person who has psql and no idea of our code. Names columns and kinds of values,
/// never a value: reasons are read in logs and alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// What is wrong.
    pub reason: String,
    /// What would mend it.
    pub advice: String,
    /// The column whose value it is about, where it is about one.
    pub column: Option<String>,
}

impl Parked {
    pub fn new(reason: impl Into<String>, advice: impl Into<String>) -> Self {
        Parked { reason: reason.into(), advice: advice.into(), column: None }
    }

    /// The same, about this column.
    fn of(self, column: &str) -> Self {
        Parked { column: Some(column.into()), ..self }
    }
}
