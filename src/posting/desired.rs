//! What a row should amount to: the pure function from rule and row to lines.

use chrono::NaiveDate;
use rust_decimal::Decimal;

use super::Parked;
use super::amount::{self, AMOUNT_MAX};
use super::lines::{BalancedLines, Dimensions, Line};
use super::rule::{Account, AccountChoice, Amount, Check, Rule, Target, folded};

/// The state that a bill's row asks of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The bill's own day in the book's zone.
    pub effective_date: NaiveDate,
    /// Never empty.
    pub lines: BalancedLines,
}

/// Maps a row to what it should amount to, or says why it cannot be told.
///
/// `row` holds the texts of [`Rule::columns`], in their order; `minor_unit` is the number of decimals of the book's
/// currency, `site` the source's name. `None` means that the ledger should hold nothing: the row does not count, or all
/// its lines are zero.
pub fn desired(rule: &Rule, minor_unit: u32, site: &str, row: &[Option<String>]) -> Result<Option<Desired>, Parked> {
    if rule.not_counted_when.iter().any(|(column, is_null)| row[*column].is_none() == *is_null) {
        return Ok(None);
    }
    let effective_date = date(rule, row)?;
    let mut amounts = Vec::with_capacity(rule.amounts.len());
    for definition in &rule.amounts {
        let value = evaluate(rule, definition, &amounts, minor_unit, row)?;
        amounts.push(value);
    }
    for check in &rule.checks {
        hold(check, &amounts)?;
    }

    let party =
        rule.parties.iter().find_map(|(column, prefix)| row[*column].as_ref().map(|id| format!("{prefix}{id}")));
    let dimensions = Dimensions { site: Some(site.into()), department: rule.department.clone(), party };
    let mut lines = Vec::with_capacity(rule.lines.len());
    for line in &rule.lines {
        let amount = amounts[line.amount];
        lines.push(Line {
            account: account(rule, &line.account, row)?.into(),
            amount: if line.is_credit { -amount } else { amount },
            is_settlement: line.is_settlement,
            dimensions: dimensions.clone(),
        });
    }
    let lines = BalancedLines::net(lines).map_err(|unbalanced| {
        Parked::new(
            format!("the lines of rule {} do not balance for this row: {unbalanced}", rule.reference_type),
            "Correct the rule: the amounts of its debit lines and of its credit lines must have the same sum.",
        )
    })?;
    if lines.as_slice().iter().any(|line| line.amount.abs() >= AMOUNT_MAX) {
        return Err(Parked::new("a line would be 10^18 or more", "Correct the amounts of the row."));
    }
    Ok(if lines.is_empty() { None } else { Some(Desired { effective_date, lines }) })
}

fn date(rule: &Rule, row: &[Option<String>]) -> Result<NaiveDate, Parked> {
    let column = &rule.columns[rule.date].name;
    let problem = match row[rule.date].as_deref() {
        None => "is null",
        Some("infinity" | "-infinity") => "holds an infinite date",
        Some(text) => match NaiveDate::parse_from_str(text, "%Y-%m-%d") {
            Ok(date) => return Ok(date),
            Err(_) => "holds something that is not a date between the years 1 and 9999",
        },
    };
    Err(Parked::new(format!("column {column} {problem}"), format!("Set {column} to the day of the bill.")))
}

fn evaluate(
    rule: &Rule,
    definition: &Amount,
    above: &[Decimal],
    minor_unit: u32,
    row: &[Option<String>],
) -> Result<Decimal, Parked> {
    match definition {
        Amount::Difference { of, minus } => Ok(above[*of] - above[*minus]),
        Amount::FirstOf { columns, otherwise } => {
            let found = columns.iter().find_map(|column| row[*column].as_deref().map(|text| (*column, text)));
            let (column, text) = match (found, otherwise) {
                (Some(found), _) => found,
                (None, Some(otherwise)) => (columns[0], otherwise.as_str()),
                (None, None) => {
                    let names = columns.iter().map(|column| rule.columns[*column].name.as_str());
                    let names = names.collect::<Vec<_>>().join(" and ");
                    return Err(Parked::new(
                        format!("{names}: null, so there is no amount"),
                        "Set the amount of the row.",
                    ));
                }
            };
            amount::parse(text, minor_unit).map_err(|problem| {
                let column = &rule.columns[column].name;
                Parked::new(
                    format!("column {column} holds {problem}"),
                    format!("Set {column} to a finite amount with at most {minor_unit} decimals."),
                )
            })
        }
    }
}

fn hold(check: &Check, amounts: &[Decimal]) -> Result<(), Parked> {
    let amount = amounts[check.amount];
    let names = &check.names;
    if let Some(other) = check.sign_of.map(|other| amounts[other])
        && !amount.is_zero()
        && !other.is_zero()
        && amount.is_sign_negative() != other.is_sign_negative()
    {
        return Err(Parked::new(
            format!("{} has the opposite sign of {}", names.amount, names.sign_of),
            format!("Correct the row: {} and {} are both positive, or both negative.", names.amount, names.sign_of),
        ));
    }
    if let Some(bound) = check.within.map(|bound| amounts[bound])
        && amount.abs() > bound.abs()
    {
        return Err(Parked::new(
            format!("{} is larger than {}", names.amount, names.within),
            format!("Correct the row: {} is a part of {}.", names.amount, names.within),
        ));
    }
    Ok(())
}

fn account<'r>(rule: &'r Rule, account: &'r Account, row: &[Option<String>]) -> Result<&'r str, Parked> {
    let steps = match account {
        Account::Fixed(account) => return Ok(account),
        Account::Chosen(steps) => steps,
    };
    for step in steps {
        match target(rule, step, row)? {
            Target::Account(account) => return Ok(account),
            Target::Next => {}
        }
    }
    Err(Parked::new(
        format!("rule {} leads to no account for this row", rule.reference_type),
        "Correct the rule: its last choice of an account says \"next\".",
    ))
}

fn target<'r>(rule: &'r Rule, step: &'r AccountChoice, row: &[Option<String>]) -> Result<&'r Target, Parked> {
    let column = &rule.columns[step.column].name;
    let (found, kind) = match row[step.column].as_deref() {
        None => (step.null.as_ref(), "null".to_string()),
        Some(text) if text.trim().is_empty() => (step.empty.as_ref(), "an empty text".to_string()),
        Some(text) => (step.map.get(&folded(text)), format!("a text of {} characters", text.trim().chars().count())),
    };
    found.ok_or_else(|| {
        Parked::new(
            format!("column {column} holds {kind} that no account is mapped to"),
            format!(
                "Set {column} to a value that rule {0} maps; or map this one there, and SELECT daybook.retry('{0}', ...).",
                rule.reference_type
            ),
        )
    })
}
