//! From the TOML text of a rule to a [`Rule`]: everything that can be wrong with it is told here, with its line.

use std::collections::{BTreeSet, HashMap};

use chrono::{Datelike, NaiveDate};
use rust_decimal::Decimal;
use sha2::{Digest, Sha256};
use toml::Spanned;

use super::amount;
use super::rule::{
    Account, AccountChoice, Amount, AmountFrom, Check, Condition, Dimension, MappedColumn, Rate, Reading, Rule,
    RuleError, RuleLine, RuleSet, Target, folded,
};
use super::rule_file::{self, RuleFile};

/// Decimals that a rate in percent may have.
const RATE_DECIMALS_MAX: u32 = 6;

impl Rule {
    /// Compiles a rule from its TOML text.
    pub fn parse(definition: &str) -> Result<Self, RuleError> {
        Self::parse_after(definition, Vec::new())
    }

    /// The same, with the columns of earlier versions in their places.
    fn parse_after(definition: &str, columns: Vec<MappedColumn>) -> Result<Self, RuleError> {
        let file: RuleFile = toml::from_str(definition).map_err(|error| RuleError {
            line: error.span().map_or(1, |span| line_of(definition, span.start)),
            reason: error.message().trim().replace('\n', " "),
        })?;
        let compiler = Compiler { definition, columns, amounts: Vec::new(), used: BTreeSet::new() };
        compiler.compile(&file)
    }
}

impl RuleSet {
    /// Compiles the versions in force, by their first day. An error also tells which of them it is about, from 0.
    pub fn parse(definitions: &[&str]) -> Result<Self, (usize, RuleError)> {
        let mut versions: Vec<Rule> = Vec::new();
        for (at, definition) in definitions.iter().enumerate() {
            let columns = versions.last().map(|rule| rule.columns.clone()).unwrap_or_default();
            let rule = Rule::parse_after(definition, columns).map_err(|error| (at, error))?;
            let refuse = |reason: String| Err((at, RuleError { line: 1, reason }));
            if let Some(before) = versions.last() {
                if before.reference_type != rule.reference_type {
                    return refuse(format!("it is of {}, not of {}", rule.reference_type, before.reference_type));
                }
                if before.valid_from >= rule.valid_from {
                    return refuse("its valid_from is not later than that of the version before it".into());
                }
            }
            versions.push(rule);
        }
        match versions.is_empty() {
            true => Err((0, RuleError { line: 1, reason: "there is no version".into() })),
            false => Ok(RuleSet { versions, versions_in_force: String::new() }),
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

struct Compiler<'a> {
    definition: &'a str,
    columns: Vec<MappedColumn>,
    amounts: Vec<String>,
    /// Amounts that something uses.
    used: BTreeSet<usize>,
}

type Compiled<T> = Result<T, String>;

impl Compiler<'_> {
    /// Names the line of what a problem is about.
    fn at<T, U>(&self, place: &Spanned<T>, result: Compiled<U>) -> Result<U, RuleError> {
        result.map_err(|reason| RuleError { line: line_of(self.definition, place.span().start), reason })
    }

    fn compile(mut self, file: &RuleFile) -> Result<Rule, RuleError> {
        let reference_type = file.reference_type.get_ref().clone();
        self.at(&file.reference_type, check_reference_type(&reference_type))?;
        let valid_from = match &file.valid_from {
            None => None,
            Some(text) => Some(self.at(text, day(text.get_ref()))?),
        };
        let reading = Reading::LocalDate { time_zone: file.time_zone.as_ref().map(|zone| zone.get_ref().clone()) };
        let date = self.column(file.date.get_ref(), reading);
        let date = self.at(&file.date, date)?;
        let department = self.dimension(&file.department, &file.department_from)?;
        let site = self.dimension(&file.site, &file.site_from)?;
        let mut parties = Vec::new();
        for party in &file.party {
            let column = self.column(&party.get_ref().column, Reading::Text);
            parties.push((self.at(party, column)?, party.get_ref().prefix.clone()));
        }
        let mut not_counted_when = Vec::new();
        for condition in &file.not_counted_when {
            let compiled = self.condition(condition.get_ref());
            not_counted_when.push(self.at(condition, compiled)?);
        }
        let mut amounts = Vec::new();
        for amount in &file.amounts {
            let compiled = self.amount(amount.get_ref());
            amounts.push(self.at(amount, compiled)?);
            self.amounts.push(amount.get_ref().name.clone());
        }
        let mut checks = Vec::new();
        for check in &file.checks {
            let compiled = self.check(check.get_ref());
            checks.push(self.at(check, compiled)?);
        }
        let mut choices = HashMap::new();
        for (name, steps) in &file.accounts {
            let mut compiled = Vec::new();
            for (at, step) in steps.iter().enumerate() {
                let choice = self.choice(name, step.get_ref(), at + 1 == steps.len());
                compiled.push(self.at(step, choice)?);
            }
            choices.insert(name.as_str(), compiled);
        }
        let mut lines = Vec::new();
        for line in &file.lines {
            let compiled = self.line(line.get_ref(), &choices);
            lines.push(self.at(line, compiled)?);
        }
        self.look_for_leftovers(file, &lines)?;
        Ok(Rule {
            reference_type,
            hash: Sha256::digest(self.definition.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect(),
            definition: self.definition.into(),
            table: file.table.as_ref().map(|table| table.get_ref().clone()),
            key: file.key.iter().map(|column| column.get_ref().clone()).collect(),
            valid_from,
            time_zone: file.time_zone.as_ref().map(|zone| zone.get_ref().clone()),
            discount: file.discount.as_ref().map(|discount| {
                let rule_file::Discount { given, result } = discount.get_ref();
                (given.clone(), result.clone())
            }),
            columns: self.columns,
            date,
            department,
            site,
            parties,
            not_counted_when,
            amounts,
            checks,
            lines,
        })
    }

    /// What is defined and never used is a misspelled name more often than not.
    fn look_for_leftovers(&self, file: &RuleFile, lines: &[RuleLine]) -> Result<(), RuleError> {
        for (index, amount) in file.amounts.iter().enumerate() {
            if !self.used.contains(&index) {
                let problem = format!("amount {} is used by no line, check or other amount", amount.get_ref().name);
                return self.at(amount, Err(problem));
            }
        }
        for (name, steps) in &file.accounts {
            let used = file.lines.iter().any(|line| line.get_ref().account_from.as_ref() == Some(name));
            if let (false, Some(step)) = (used, steps.first()) {
                return self.at(step, Err(format!("accounts.{name} is used by no line")));
            }
        }
        let sides: BTreeSet<bool> = lines.iter().map(|line| line.is_credit).collect();
        if sides.len() < 2 {
            let problem = "an entry needs a debit line and a credit line".to_string();
            return match file.lines.first() {
                Some(line) => self.at(line, Err(problem)),
                None => Err(RuleError { line: 1, reason: problem }),
            };
        }
        Ok(())
    }

    fn column(&mut self, name: &str, reading: Reading) -> Compiled<usize> {
        if let Some(index) = self.columns.iter().position(|column| column.name == name && column.reading == reading) {
            return Ok(index);
        }
        if name.is_empty() {
            return Err("a column has no name".into());
        }
        self.columns.push(MappedColumn { name: name.into(), reading });
        Ok(self.columns.len() - 1)
    }

    fn dimension(&mut self, fixed: &Option<String>, from: &Option<Spanned<String>>) -> Result<Dimension, RuleError> {
        let column = match from {
            None => None,
            Some(name) => {
                let column = self.column(name.get_ref(), Reading::Text);
                Some(self.at(name, column)?)
            }
        };
        Ok(Dimension { column, fixed: fixed.clone() })
    }

    fn condition(&mut self, condition: &rule_file::Condition) -> Compiled<Condition> {
        let rule_file::Condition { column, is_null, is, is_not, null } = condition;
        let index = self.column(column, Reading::Text)?;
        match (is_null, is, is_not, null) {
            (Some(is_null), None, None, None) => Ok(Condition::Null { column: index, is_null: *is_null }),
            (None, Some(is), is_not, null) => {
                let folded_set = |values: &[String]| values.iter().map(|value| folded(value)).collect::<BTreeSet<_>>();
                let is = folded_set(is);
                let is_not = is_not.as_deref().map(folded_set);
                if let Some(both) = is_not.as_ref().and_then(|is_not| is.intersection(is_not).next()) {
                    return Err(format!("{column}: {both:?} stands in is and in is_not"));
                }
                Ok(Condition::Text { column: index, is, is_not, null: *null })
            }
            _ => Err(format!("{column}: give either is_null, or is (and is_not, null)")),
        }
    }

    fn amount(&mut self, amount: &rule_file::Amount) -> Compiled<Amount> {
        let rule_file::Amount { name, .. } = amount;
        if name.is_empty() {
            return Err("an amount has no name".into());
        }
        if self.amounts.contains(name) {
            return Err(format!("amount {name} is defined twice"));
        }
        let mut negative_when = Vec::new();
        for condition in &amount.negative_when {
            negative_when.push(self.condition(condition)?);
        }
        let from = self.amount_from(amount).map_err(|problem| format!("amount {name}: {problem}"))?;
        let reads = matches!(&from, AmountFrom::Columns { .. } | AmountFrom::Tax { stored: Some(_), .. });
        if !negative_when.is_empty() && !reads {
            return Err(format!("amount {name}: negative_when goes with first_of or stored, which it turns round"));
        }
        Ok(Amount { name: name.clone(), from, negative_when })
    }

    fn amount_from(&mut self, amount: &rule_file::Amount) -> Compiled<AmountFrom> {
        let rule_file::Amount { first_of, otherwise, of, minus, sum_of, tax_inside, tax_on, rate, rate_from, .. } =
            amount;
        let rule_file::Amount { stored, rounded, to, .. } = amount;
        let is_tax = tax_inside.is_some() || tax_on.is_some();
        let ways = [first_of.is_some(), of.is_some(), sum_of.is_some(), is_tax, rounded.is_some()];
        if ways.iter().filter(|given| **given).count() != 1 || (tax_inside.is_some() && tax_on.is_some()) {
            return Err("give exactly one of first_of, of, sum_of, tax_inside, tax_on and rounded".into());
        }
        let stray = [
            (otherwise.is_some() && first_of.is_none(), "otherwise goes with first_of"),
            (minus.is_some() != of.is_some(), "of and minus go together"),
            (
                (rate.is_some() || rate_from.is_some() || stored.is_some()) && !is_tax,
                "rate, rate_from and stored belong to a tax",
            ),
            (to.is_some() != rounded.is_some(), "rounded and to go together"),
        ];
        if let Some((_, problem)) = stray.iter().find(|(wrong, _)| *wrong) {
            return Err((*problem).into());
        }
        if let Some(columns) = first_of {
            if columns.is_empty() {
                return Err("first_of names no column".into());
            }
            let first_of = columns.iter().map(|name| self.column(name, Reading::Amount)).collect::<Result<_, _>>()?;
            if let Some(text) = otherwise {
                amount::parse(text, 3).map_err(|problem| format!("otherwise is {problem}"))?;
            }
            return Ok(AmountFrom::Columns { first_of, otherwise: otherwise.clone() });
        }
        if let (Some(of), Some(minus)) = (of, minus) {
            let minus = minus.as_slice().iter().map(|name| self.named(name)).collect::<Result<Vec<_>, _>>()?;
            return Ok(AmountFrom::Difference { of: self.named(of)?, minus });
        }
        if let Some(names) = sum_of {
            return Ok(AmountFrom::Sum(names.iter().map(|name| self.named(name)).collect::<Result<_, _>>()?));
        }
        if let (Some(of), Some(to)) = (rounded, to) {
            let to = amount::parse(to, 3).map_err(|problem| format!("to is {problem}"))?;
            if to <= Decimal::ZERO {
                return Err("to is not above zero".into());
            }
            return Ok(AmountFrom::Rounded { of: self.named(of)?, to });
        }
        let (inside, of) = match (tax_inside, tax_on) {
            (Some(of), _) => (true, of),
            (_, Some(of)) => (false, of),
            _ => return Err("it comes from nothing".into()),
        };
        let rate = match (rate, rate_from) {
            (Some(rate), None) => match amount::parse(rate, RATE_DECIMALS_MAX) {
                Ok(rate) if rate >= Decimal::ZERO && rate < Decimal::ONE_THOUSAND => Rate::Fixed(rate),
                _ => {
                    return Err("rate is percent, such as \"21\", from 0 to below 1000, with 6 decimals at most".into());
                }
            },
            (None, Some(column)) => Rate::Column(self.column(column, Reading::Amount)?),
            _ => return Err("a tax has either rate or rate_from".into()),
        };
        let stored = stored.as_ref().map(|column| self.column(column, Reading::Amount)).transpose()?;
        Ok(AmountFrom::Tax { of: self.named(of)?, inside, rate, stored })
    }

    fn named(&mut self, name: &str) -> Compiled<usize> {
        let found = self.amounts.iter().position(|amount| amount == name);
        let index = found.ok_or_else(|| format!("amount {name} is not defined above its use"))?;
        self.used.insert(index);
        Ok(index)
    }

    fn check(&mut self, check: &rule_file::Check) -> Compiled<Check> {
        let rule_file::Check { amount, sign_of, within, at_most } = check;
        if sign_of.is_none() && within.is_none() && at_most.is_none() {
            return Err(format!("the check of {amount} says nothing: give sign_of, within or at_most"));
        }
        let at_most = match at_most {
            None => None,
            Some(text) => Some(amount::parse(text, 3).map_err(|problem| format!("at_most is {problem}"))?),
        };
        Ok(Check {
            amount: self.named(amount)?,
            sign_of: sign_of.as_ref().map(|name| self.named(name)).transpose()?,
            within: within.as_ref().map(|name| self.named(name)).transpose()?,
            at_most,
        })
    }

    fn choice(&mut self, name: &str, step: &rule_file::AccountChoice, is_last: bool) -> Compiled<AccountChoice> {
        let targets = step.map.values().chain(&step.null).chain(&step.empty).chain(&step.otherwise);
        for target in targets {
            if target == "next" && is_last {
                return Err(format!("accounts.{name}: its last step says \"next\", and there is none"));
            }
            check_account(target)?;
        }
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
            otherwise: step.otherwise.as_ref().map(target),
            map,
        })
    }

    fn line(&mut self, line: &rule_file::RuleLine, choices: &HashMap<&str, Vec<AccountChoice>>) -> Compiled<RuleLine> {
        let (amount, is_credit) = match (&line.debit, &line.credit) {
            (Some(debit), None) => (self.named(debit)?, false),
            (None, Some(credit)) => (self.named(credit)?, true),
            _ => return Err("a line has either debit or credit".into()),
        };
        let account = match (&line.account, &line.account_from) {
            (Some(account), None) => {
                check_account(account)?;
                Account::Fixed(account.clone())
            }
            (None, Some(name)) => match choices.get(name.as_str()) {
                Some(steps) => Account::Chosen(steps.clone()),
                None => return Err(format!("account_from {name}: there is no [[accounts.{name}]]")),
            },
            _ => return Err("a line has either account or account_from".into()),
        };
        Ok(RuleLine { amount, is_credit, account, is_settlement: line.settlement })
    }
}

fn day(text: &str) -> Compiled<NaiveDate> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        .filter(|day| (1..=9999).contains(&day.year()))
        .ok_or_else(|| format!("valid_from {text:?} is no day, such as \"2024-04-01\""))
}

fn check_reference_type(name: &str) -> Compiled<()> {
    if name == "CASH_CLOSURE" {
        return Err("reference_type \"CASH_CLOSURE\" is that of days of cash, and of no bill: take another".into());
    }
    let usable = name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    if usable {
        return Ok(());
    }
    Err(format!("reference_type {name:?} is not usable: up to 40 capital letters, digits and underscores, as PHARMACY"))
}

/// As `ledger.accounts` has it.
fn check_account(code: &str) -> Compiled<()> {
    let usable = code.len() <= 63
        && code.starts_with(|c: char| c.is_ascii_alphanumeric())
        && code.chars().all(|c| c.is_ascii_alphanumeric() || "_.:-".contains(c));
    if usable { Ok(()) } else { Err(format!("{code:?} is no account code: letters, digits and _.:- only")) }
}
