//! The TOML form of a posting rule, as people write it. [`super::rule`] compiles it.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    pub reference_type: String,
    pub date: String,
    pub department: Option<String>,
    #[serde(default)]
    pub party: Vec<Party>,
    #[serde(default)]
    pub not_counted_when: Vec<Condition>,
    pub amounts: Vec<Amount>,
    #[serde(default)]
    pub checks: Vec<Check>,
    #[serde(default)]
    pub accounts: BTreeMap<String, Vec<AccountChoice>>,
    pub lines: Vec<RuleLine>,
}

/// The first of these columns that is not null names the party: `prefix` and the column's text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    pub column: String,
    pub prefix: String,
}

/// The row counts as absent where the column is null (`is_null = true`) or not null (`false`).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    pub column: String,
    pub is_null: bool,
}

/// A named amount: either `first_of` columns that is not null, with `otherwise` where all are, or `of` one amount `minus`
/// another; both stand above it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    pub name: String,
    pub first_of: Option<Vec<String>>,
    pub otherwise: Option<String>,
    pub of: Option<String>,
    pub minus: Option<String>,
}

/// `amount` must not have the opposite sign of `sign_of`, and must not exceed `within` in absolute value.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    pub amount: String,
    pub sign_of: Option<String>,
    pub within: Option<String>,
}

/// One step in the choice of an account: the column's value leads to an account, or to the `next` step.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountChoice {
    pub column: String,
    pub null: Option<String>,
    pub empty: Option<String>,
    pub map: BTreeMap<String, String>,
}

/// One line of the entry: `debit` or `credit` names an amount, `account` or `account_from` the account.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleLine {
    pub debit: Option<String>,
    pub credit: Option<String>,
    pub account: Option<String>,
    pub account_from: Option<String>,
    #[serde(default)]
    pub settlement: bool,
}
