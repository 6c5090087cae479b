//! A posting rule: how a row of a bill table maps to lines. Data, compiled from TOML.

use std::collections::{BTreeSet, HashMap};

use sha2::{Digest, Sha256};

use super::rule_file::{self, RuleFile};

/// How the consumer reads a mapped column; each becomes an exact text or null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// The day in the book's time zone, as ISO text.
    LocalDate,
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

/// What a rule file must not say; the message says where and why.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    #[error("not a rule file: {0}")]
    Syntax(#[from] toml::de::Error),
    #[error("rule {reference_type}: {problem}")]
    Meaning { reference_type: String, problem: String },
}

/// A compiled rule. Columns and amounts are referred to by their index.
#[derive(Debug, Clone)]
pub struct Rule {
    pub reference_type: String,
    /// SHA-256 of the definition's text, in hexadecimal.
    pub hash: String,
    pub(super) columns: Vec<MappedColumn>,
    pub(super) date: usize,
    pub(super) department: Option<String>,
    pub(super) parties: Vec<(usize, String)>,
    pub(super) not_counted_when: Vec<(usize, bool)>,
    pub(super) amounts: Vec<Amount>,
    pub(super) checks: Vec<Check>,
    pub(super) lines: Vec<RuleLine>,
}

#[derive(Debug, Clone)]
pub(super) enum Amount {
    FirstOf { columns: Vec<usize>, otherwise: Option<String> },
    Difference { of: usize, minus: usize },
}

#[derive(Debug, Clone)]
pub(super) struct Check {
    pub amount: usize,
    pub sign_of: Option<usize>,
    pub within: Option<usize>,
    pub names: CheckNames,
}

/// What the check's amounts are called in the rule, for its messages.
#[derive(Debug, Clone)]
pub(super) struct CheckNames {
    pub amount: String,
    pub sign_of: String,
    pub within: String,
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
    pub map: HashMap<String, Target>,
}

#[derive(Debug, Clone)]
pub(super) enum Target {
    Account(String),
    Next,
}

impl Rule {
    /// Compiles a rule from its TOML text.
    pub fn parse(definition: &str) -> Result<Self, RuleError> {
        let file: RuleFile = toml::from_str(definition)?;
        let hash = Sha256::digest(definition.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let reference_type = file.reference_type.clone();
        Compiler::default().compile(file, hash).map_err(|problem| RuleError::Meaning { reference_type, problem })
    }

    /// The columns that the rule reads, in the order in which a row's values are given to the core.
    pub fn columns(&self) -> &[MappedColumn] {
        &self.columns
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
                        let targets = choice.map.values().chain(&choice.null).chain(&choice.empty);
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

#[derive(Default)]
struct Compiler {
    columns: Vec<MappedColumn>,
    amounts: Vec<String>,
}

impl Compiler {
    fn compile(mut self, file: RuleFile, hash: String) -> Result<Rule, String> {
        let date = self.column(&file.date, Reading::LocalDate)?;
        let mut parties = Vec::new();
        for party in &file.party {
            parties.push((self.column(&party.column, Reading::Text)?, party.prefix.clone()));
        }
        let mut not_counted_when = Vec::new();
        for condition in &file.not_counted_when {
            not_counted_when.push((self.column(&condition.column, Reading::Text)?, condition.is_null));
        }
        let mut amounts = Vec::new();
        for amount in &file.amounts {
            amounts.push(self.amount(amount)?);
            self.amounts.push(amount.name.clone());
        }
        let mut checks = Vec::new();
        for check in &file.checks {
            checks.push(self.check(check)?);
        }
        let mut choices = HashMap::new();
        for (name, steps) in &file.accounts {
            let steps = steps.iter().map(|step| self.choice(name, step)).collect::<Result<Vec<_>, _>>()?;
            choices.insert(name.as_str(), steps);
        }
        let lines = file.lines.iter().map(|line| self.line(line, &choices)).collect::<Result<Vec<_>, _>>()?;
        if lines.len() < 2 {
            return Err("an entry needs at least two lines".into());
        }
        Ok(Rule {
            reference_type: file.reference_type,
            hash,
            columns: self.columns,
            date,
            department: file.department,
            parties,
            not_counted_when,
            amounts,
            checks,
            lines,
        })
    }

    fn column(&mut self, name: &str, reading: Reading) -> Result<usize, String> {
        if let Some(index) = self.columns.iter().position(|column| column.name == name && column.reading == reading) {
            return Ok(index);
        }
        if name.is_empty() {
            return Err("a column has no name".into());
        }
        self.columns.push(MappedColumn { name: name.into(), reading });
        Ok(self.columns.len() - 1)
    }

    fn amount(&mut self, amount: &rule_file::Amount) -> Result<Amount, String> {
        if self.amounts.contains(&amount.name) {
            return Err(format!("amount {} is defined twice", amount.name));
        }
        match amount {
            rule_file::Amount { first_of: Some(columns), otherwise, of: None, minus: None, name } => {
                if columns.is_empty() {
                    return Err(format!("amount {name}: first_of names no column"));
                }
                let columns =
                    columns.iter().map(|column| self.column(column, Reading::Amount)).collect::<Result<_, _>>()?;
                Ok(Amount::FirstOf { columns, otherwise: otherwise.clone() })
            }
            rule_file::Amount { first_of: None, otherwise: None, of: Some(of), minus: Some(minus), .. } => {
                Ok(Amount::Difference { of: self.named(of)?, minus: self.named(minus)? })
            }
            _ => Err(format!("amount {}: give either first_of (and otherwise), or of and minus", amount.name)),
        }
    }

    fn named(&self, name: &str) -> Result<usize, String> {
        let found = self.amounts.iter().position(|amount| amount == name);
        found.ok_or_else(|| format!("amount {name} is not defined above its use"))
    }

    fn check(&self, check: &rule_file::Check) -> Result<Check, String> {
        let optional = |name: &Option<String>| name.as_deref().map(|name| self.named(name)).transpose();
        Ok(Check {
            amount: self.named(&check.amount)?,
            sign_of: optional(&check.sign_of)?,
            within: optional(&check.within)?,
            names: CheckNames {
                amount: check.amount.clone(),
                sign_of: check.sign_of.clone().unwrap_or_default(),
                within: check.within.clone().unwrap_or_default(),
            },
        })
    }

    fn choice(&mut self, name: &str, step: &rule_file::AccountChoice) -> Result<AccountChoice, String> {
        let target = |text: &String| {
            if text == "next" { Target::Next } else { Target::Account(text.clone()) }
        };
        let mut map = HashMap::new();
        for (value, account) in &step.map {
            if map.insert(folded(value), target(account)).is_some() {
                return Err(format!("accounts.{name}: {value} stands twice, once case and blanks are ignored"));
            }
        }
        Ok(AccountChoice {
            column: self.column(&step.column, Reading::Text)?,
            null: step.null.as_ref().map(target),
            empty: step.empty.as_ref().map(target),
            map,
        })
    }

    fn line(
        &self,
        line: &rule_file::RuleLine,
        choices: &HashMap<&str, Vec<AccountChoice>>,
    ) -> Result<RuleLine, String> {
        let (amount, is_credit) = match (&line.debit, &line.credit) {
            (Some(debit), None) => (self.named(debit)?, false),
            (None, Some(credit)) => (self.named(credit)?, true),
            _ => return Err("a line has either debit or credit".into()),
        };
        let account = match (&line.account, &line.account_from) {
            (Some(account), None) => Account::Fixed(account.clone()),
            (None, Some(name)) => match choices.get(name.as_str()) {
                Some(steps) => Account::Chosen(steps.clone()),
                None => {
                    return Err(format!("account_from {name}: there is no [[accounts.{name}]]"));
                }
            },
            _ => return Err("a line has either account or account_from".into()),
        };
        Ok(RuleLine { amount, is_credit, account, is_settlement: line.settlement })
    }
}

/// The form in which texts are compared: trimmed, in lower case.
pub(super) fn folded(text: &str) -> String {
    text.trim().to_lowercase()
}
