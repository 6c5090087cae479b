//! The TOML form of a posting rule, as people write it. [`super::compile`] compiles it.
//!
//! Columns are those of the bill table, amounts have names of the rule's own, and an amount can be used below the place
//! where it is defined. What is spanned is what a message has to point at.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// What the bills are called in the ledger: capital letters, digits and underscores.
    pub reference_type: Spanned<String>,
    /// The bill table, as SQL names it, for `daybook attach` and `daybook rules check`.
    pub table: Option<Spanned<String>>,
    /// Its key columns, for the same.
    #[serde(default)]
    pub key: Vec<Spanned<String>>,
    /// The first day on which this version judges bills, as `"2024-04-01"`; from the beginning where it is left out.
    pub valid_from: Option<Spanned<String>>,
    /// Zone of the bills' days, where it is not the book's.
    pub time_zone: Option<Spanned<String>>,
    /// Column of the bill's own day; a timestamp counts by its day in the zone.
    pub date: Spanned<String>,
    pub department: Option<String>,
    pub department_from: Option<Spanned<String>>,
    /// Where the bill was written; the source's name where neither is given.
    pub site: Option<String>,
    pub site_from: Option<Spanned<String>>,
    #[serde(default)]
    pub party: Vec<Spanned<Party>>,
    #[serde(default)]
    pub not_counted_when: Vec<Spanned<Condition>>,
    pub amounts: Vec<Spanned<Amount>>,
    #[serde(default)]
    pub checks: Vec<Spanned<Check>>,
    #[serde(default)]
    pub accounts: BTreeMap<String, Vec<Spanned<AccountChoice>>>,
    pub lines: Vec<Spanned<RuleLine>>,
    pub discount: Option<Spanned<Discount>>,
}

/// For the clinic's rule that a discount shows: where the column `given` holds a number that is not zero, the column `result` is not
/// null. A bill that fails is posted all the same, and told as a warning.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Discount {
    pub given: String,
    pub result: String,
}

/// The first of these columns that is not null names the party: `prefix` and the column's text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Party {
    pub column: String,
    #[serde(default)]
    pub prefix: String,
}

/// Holds where the column is null (`is_null = true`) or not null (`false`); or where its text is one of `is`. Texts are
/// compared trimmed, in any case. With `is_not`, it does not hold for those, and every other text parks the bill. `null`
/// says whether it holds for null; left out, it does not, and with `is_not` null parks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    pub column: String,
    pub is_null: Option<bool>,
    pub is: Option<Vec<String>>,
    pub is_not: Option<Vec<String>>,
    pub null: Option<bool>,
}

/// A named amount, by one of these:
///
/// * `first_of`: the first of these columns that is not null, with `otherwise` where all are;
/// * `of` one amount `minus` one or several others;
/// * `sum_of` amounts;
/// * `tax_inside` an amount: gross − round half up(gross × 100 / (100 + rate)), in minor units;
/// * `tax_on` an amount: round half up(net × rate / 100);
/// * `rounded`: an amount rounded half up to a multiple of `to`.
///
/// A tax has its `rate` in percent, or `rate_from` a column. Where the column `stored` is not null, its value is the tax,
/// and a difference from the rate is a warning. `negative_when` any of its conditions holds, what was read from columns
/// (`first_of`, `stored`) counts with the opposite sign.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    pub name: String,
    pub first_of: Option<Vec<String>>,
    pub otherwise: Option<String>,
    pub of: Option<String>,
    pub minus: Option<OneOrMany>,
    pub sum_of: Option<Vec<String>>,
    pub tax_inside: Option<String>,
    pub tax_on: Option<String>,
    pub rate: Option<String>,
    pub rate_from: Option<String>,
    pub stored: Option<String>,
    pub rounded: Option<String>,
    pub to: Option<String>,
    #[serde(default)]
    pub negative_when: Vec<Condition>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub fn as_slice(&self) -> &[String] {
        match self {
            OneOrMany::One(name) => std::slice::from_ref(name),
            OneOrMany::Many(names) => names,
        }
    }
}

/// `amount` must not have the opposite sign of `sign_of`, and must not exceed `within`, or the constant `at_most`, in absolute
/// value. A row that fails is parked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    pub amount: String,
    pub sign_of: Option<String>,
    pub within: Option<String>,
    pub at_most: Option<String>,
}

/// One step in the choice of an account: the column's value leads to an account, or to the `next` step. `null`, `empty` and
/// `otherwise` are for null, blank and every other text; where they are left out, those park the bill.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountChoice {
    pub column: String,
    pub null: Option<String>,
    pub empty: Option<String>,
    pub otherwise: Option<String>,
    pub map: BTreeMap<String, String>,
}

/// One line of the entry: `debit` or `credit` names an amount, `account` or `account_from` the account. `settlement` marks a
/// line that says how the bill was settled.
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
