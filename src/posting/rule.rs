//! Posting rules: how a row of a bill table maps to lines, as data. [`super::compile`] makes them from TOML.

use std::collections::{BTreeSet, HashMap};

use chrono::NaiveDate;
use rust_decimal::Decimal;

use super::Parked;
use super::desired::effective_date;

/// How the consumer reads a mapped column; each becomes an exact text or null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// The day in this time zone, the book's where none is named, as ISO text.
    LocalDate { time_zone: Option<String> },
    /// A number in plain decimal notation.
    Amount,
    /// The value's text.
    Text,
}

/// A column of the bill table that the rule reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedColumn {
    pub name: String,
    pub reading: Reading,
}

/// What a rule file must not say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct RuleError {
    /// Counted from 1.
    pub line: usize,
    pub reason: String,
}

/// A compiled rule. Columns and amounts are referred to by their index.
#[derive(Debug, Clone)]
pub struct Rule {
    pub reference_type: String,
    /// SHA-256 of the definition's text, in hexadecimal.
    pub hash: String,
    /// The definition as it was written.
    pub definition: String,
    /// The bill table and its key, where the rule names them.
    pub table: Option<String>,
    pub key: Vec<String>,
    /// `None`: from the beginning.
    pub valid_from: Option<NaiveDate>,
    /// Zone of the bills' days where it is not the book's.
    pub time_zone: Option<String>,
    /// For the clinic's rule that a discount shows: the column of what was given, and that of the discounted amount. Posting has no use
    /// for them, and goes on without.
    pub discount: Option<(String, String)>,
    pub(super) columns: Vec<MappedColumn>,
    pub(super) date: usize,
    pub(super) department: Dimension,
    pub(super) site: Dimension,
    pub(super) parties: Vec<(usize, String)>,
    pub(super) not_counted_when: Vec<Condition>,
    pub(super) amounts: Vec<Amount>,
    pub(super) checks: Vec<Check>,
    pub(super) lines: Vec<RuleLine>,
}

/// A dimension's value: that of a column where it is not blank, else a fixed one.
#[derive(Debug, Clone, Default)]
pub(super) struct Dimension {
    pub column: Option<usize>,
    pub fixed: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) enum Condition {
    Null { column: usize, is_null: bool },
    Text { column: usize, is: BTreeSet<String>, is_not: Option<BTreeSet<String>>, null: Option<bool> },
}

#[derive(Debug, Clone)]
pub(super) struct Amount {
    pub name: String,
    pub from: AmountFrom,
    pub negative_when: Vec<Condition>,
}

#[derive(Debug, Clone)]
pub(super) enum AmountFrom {
    Columns { first_of: Vec<usize>, otherwise: Option<String> },
    Difference { of: usize, minus: Vec<usize> },
    Sum(Vec<usize>),
    Tax { of: usize, inside: bool, rate: Rate, stored: Option<usize> },
    Rounded { of: usize, to: Decimal },
}

/// Percent.
#[derive(Debug, Clone)]
pub(super) enum Rate {
    Fixed(Decimal),
    Column(usize),
}

#[derive(Debug, Clone)]
pub(super) struct Check {
    pub amount: usize,
    pub sign_of: Option<usize>,
    pub within: Option<usize>,
    pub at_most: Option<Decimal>,
}

#[derive(Debug, Clone)]
pub(super) struct RuleLine {
    pub amount: usize,
    pub is_credit: bool,
    pub account: Account,
    pub is_settlement: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Account {
    Fixed(String),
    Chosen(Vec<AccountChoice>),
}

/// One step of a choice.
#[derive(Debug, Clone)]
pub(super) struct AccountChoice {
    pub column: usize,
    pub null: Option<Target>,
    pub empty: Option<Target>,
    pub otherwise: Option<Target>,
    pub map: HashMap<String, Target>,
}

#[derive(Debug, Clone)]
pub(super) enum Target {
    Account(String),
    Next,
}

impl Rule {
    /// The columns that the rule reads, in the order in which a row's values are given to the core.
    pub fn columns(&self) -> &[MappedColumn] {
        &self.columns
    }

    /// The first eight bytes of [`Rule::hash`], big-endian.
    pub fn digest(&self) -> i64 {
        self.hash.get(..16).and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or_default().cast_signed()
    }

    /// The column of the bill's day.
    pub fn date_column(&self) -> &MappedColumn {
        &self.columns[self.date]
    }

    /// The names of the columns that it reads, each once.
    pub fn column_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for column in &self.columns {
            if !names.contains(&column.name.as_str()) {
                names.push(&column.name);
            }
        }
        names
    }

    /// Every account that the rule can post to.
    pub fn accounts(&self) -> BTreeSet<&str> {
        let mut accounts = BTreeSet::new();
        for line in &self.lines {
            match &line.account {
                Account::Fixed(account) => {
                    accounts.insert(account.as_str());
                }
                Account::Chosen(choices) => {
                    for choice in choices {
                        let targets =
                            choice.map.values().chain(&choice.null).chain(&choice.empty).chain(&choice.otherwise);
                        accounts.extend(targets.filter_map(|target| match target {
                            Target::Account(account) => Some(account.as_str()),
                            Target::Next => None,
                        }));
                    }
                }
            }
        }
        accounts
    }
}

/// The versions of a reference type's rule that are in force, by their first day. Never empty.
///
/// They share one list of columns, so that one row serves them all.
#[derive(Debug, Clone)]
pub struct RuleSet {
    pub(super) versions: Vec<Rule>,
    /// Their numbers in the ledger, in order, by which two sets are compared; empty where they come from files.
    pub versions_in_force: String,
}

impl RuleSet {
    pub fn reference_type(&self) -> &str {
        &self.latest().reference_type
    }

    /// The version that judges bills from now on.
    pub fn latest(&self) -> &Rule {
        &self.versions[self.versions.len() - 1]
    }

    pub fn versions(&self) -> &[Rule] {
        &self.versions
    }

    /// The columns that the versions read, in the order in which a row's values are given to the core.
    pub fn columns(&self) -> &[MappedColumn] {
        self.latest().columns()
    }

    /// The version that is valid on the bill's effective date: the latest one by whose own date column the bill is not before
    /// its first day. Where the row has no usable date, the latest version says what is wrong with it.
    pub fn version_for(&self, row: &[Option<String>]) -> Result<&Rule, Parked> {
        let mut day = None;
        for rule in self.versions.iter().rev() {
            match (effective_date(rule, row), rule.valid_from) {
                (Ok(_), None) => return Ok(rule),
                (Ok(date), Some(first)) if date >= first => return Ok(rule),
                (Ok(date), Some(first)) => day = Some((date, first)),
                (Err(_), _) => return Ok(self.latest()),
            }
        }
        let (date, first) = day.unwrap_or_default();
        Err(Parked::new(
            format!("no version of rule {} is valid on {date}; the first begins on {first}", self.reference_type()),
            "Apply a version for that time; or set the table's go-live date, so that older bills are out of scope.",
        ))
    }
}

/// The form in which texts are compared: trimmed, in lower case.
pub(super) fn folded(text: &str) -> String {
    text.trim().to_lowercase()
}
