//! What a row should amount to: the pure function from rule and row to lines.

use chrono::NaiveDate;
use rust_decimal::Decimal;

use super::Parked;
use super::amount::{self, AMOUNT_MAX};
use super::lines::{BalancedLines, Dimensions, Line};
use super::rule::{
    Account, AccountChoice, Amount, AmountFrom, Check, Condition, Dimension, Rate, Rule, RuleLine, Target, folded,
};

/// The state that a bill's row asks of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The bill's own day in its zone.
    pub effective_date: NaiveDate,
    /// Never empty.
    pub lines: BalancedLines,
    /// What is odd about the row, and posted all the same.
    pub warning: Option<String>,
}

/// What a row asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Lines(Desired),
    /// The row does not count, or all its lines are zero.
    Nothing,
    /// The bill is older than its table's go-live date.
    OutOfScope,
}

/// What a row is judged by besides its rule.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// Decimals of the book's currency.
    pub minor_unit: u32,
    /// The source's name, the site of bills that name no other.
    pub site: &'a str,
    /// Bills from before this day are out of scope.
    pub go_live: Option<NaiveDate>,
}

type Row = [Option<String>];

/// Maps a row to what it should amount to, or says why it cannot be told. `row` holds the texts of [`Rule::columns`], in
/// their order; it may be longer.
pub fn desired(rule: &Rule, circumstances: Circumstances<'_>, row: &Row) -> Result<Wanted, Parked> {
    let Circumstances { minor_unit, site, go_live } = circumstances;
    let date = effective_date(rule, row);
    if date.as_ref().is_ok_and(|date| go_live.is_some_and(|first| *date < first)) {
        return Ok(Wanted::OutOfScope);
    }
    if !counts(rule, row)? {
        return Ok(Wanted::Nothing);
    }
    let effective_date = date?;
    let mut amounts = Vec::with_capacity(rule.amounts.len());
    let mut warning = None;
    for definition in &rule.amounts {
        amounts.push(evaluate(rule, definition, &amounts, minor_unit, row, &mut warning)?);
    }
    for check in &rule.checks {
        hold(rule, check, &amounts)?;
    }

    let party = rule.parties.iter().find_map(|(column, prefix)| {
        row[*column].as_deref().filter(|id| !id.trim().is_empty()).map(|id| format!("{prefix}{id}"))
    });
    let dimensions = Dimensions {
        site: dimension(&rule.site, row).or_else(|| Some(site.into())),
        department: dimension(&rule.department, row),
        party,
    };
    let mut lines = Vec::with_capacity(rule.lines.len());
    for RuleLine { amount, is_credit, account, is_settlement } in &rule.lines {
        let amount = amounts[*amount];
        lines.push(Line {
            account: choose(rule, account, row)?.into(),
            amount: if *is_credit { -amount } else { amount },
            is_settlement: *is_settlement,
            dimensions: dimensions.clone(),
        });
    }
    let lines = BalancedLines::net(lines).map_err(|unbalanced| {
        Parked::new(
            format!("the lines of rule {} do not balance for this row: {unbalanced}", rule.reference_type),
            "Correct the row's amounts; or the rule: its debit lines and its credit lines must have the same sum.",
        )
    })?;
    if lines.as_slice().iter().any(|line| line.amount.abs() >= AMOUNT_MAX) {
        return Err(Parked::new("a line would be 10^18 or more", "Correct the amounts of the row."));
    }
    Ok(match lines.is_empty() {
        true => Wanted::Nothing,
        false => Wanted::Lines(Desired { effective_date, lines, warning }),
    })
}

/// Everything that keeps a row from being posted, not only the first, for whoever checks a rule against a table.
pub fn problems(rule: &Rule, circumstances: Circumstances<'_>, row: &Row) -> Vec<Parked> {
    let first = match desired(rule, circumstances, row) {
        Ok(_) => return Vec::new(),
        Err(first) => first,
    };
    let mut found = vec![first];
    let mut add = |problem: Option<Parked>| found.extend(problem.filter(|problem| !found.contains(problem)));
    add(effective_date(rule, row).err());
    for condition in &rule.not_counted_when {
        add(holds(rule, condition, row).err());
    }
    for amount in rule.amounts.iter().filter(|amount| matches!(amount.from, AmountFrom::Columns { .. })) {
        add(evaluate(rule, amount, &[], circumstances.minor_unit, row, &mut None).err());
    }
    for line in &rule.lines {
        add(choose(rule, &line.account, row).err());
    }
    found
}

/// The bill's own day.
pub(super) fn effective_date(rule: &Rule, row: &Row) -> Result<NaiveDate, Parked> {
    let column = &rule.columns[rule.date].name;
    let problem = match row[rule.date].as_deref() {
        None => "is null",
        Some("infinity" | "-infinity") => "holds an infinite date",
        Some(text) => match text.parse() {
            Ok(date) => return Ok(date),
            Err(_) => "holds something that is not a date between the years 1 and 9999",
        },
    };
    Err(Parked::new(format!("column {column} {problem}"), format!("Set {column} to the day of the bill.")).of(column))
}

fn counts(rule: &Rule, row: &Row) -> Result<bool, Parked> {
    for condition in &rule.not_counted_when {
        if holds(rule, condition, row)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds(rule: &Rule, condition: &Condition, row: &Row) -> Result<bool, Parked> {
    match condition {
        Condition::Null { column, is_null } => Ok(row[*column].is_none() == *is_null),
        Condition::Text { column, is, is_not, null } => {
            let unknown = |kind: String| {
                let name = &rule.columns[*column].name;
                Parked::new(
                    format!("column {name} holds {kind} that the rule does not know"),
                    format!(
                        "Set {name} to a value that rule {} knows; or name this one there, in is or in is_not.",
                        rule.reference_type
                    ),
                )
                .of(name)
            };
            match (row[*column].as_deref(), null, is_not) {
                (None, Some(holds), _) => Ok(*holds),
                (None, None, None) => Ok(false),
                (None, None, Some(_)) => Err(unknown("null".into())),
                (Some(text), _, is_not) => {
                    let text = folded(text);
                    match is_not {
                        _ if is.contains(&text) => Ok(true),
                        Some(is_not) if !is_not.contains(&text) => Err(unknown(kind(&text))),
                        _ => Ok(false),
                    }
                }
            }
        }
    }
}

/// A text by its length: what it says is nobody's business.
fn kind(text: &str) -> String {
    match text.trim().chars().count() {
        0 => "an empty text".into(),
        characters => format!("a text of {characters} characters"),
    }
}

fn dimension(dimension: &Dimension, row: &Row) -> Option<String> {
    let of_row = dimension.column.and_then(|column| row[column].as_deref()).map(str::trim);
    of_row.filter(|text| !text.is_empty()).map(str::to_string).or_else(|| dimension.fixed.clone())
}

fn evaluate(
    rule: &Rule,
    definition: &Amount,
    above: &[Decimal],
    minor_unit: u32,
    row: &Row,
    warning: &mut Option<String>,
) -> Result<Decimal, Parked> {
    let signed = |amount: Decimal| -> Result<Decimal, Parked> {
        for condition in &definition.negative_when {
            if holds(rule, condition, row)? {
                return Ok(-amount);
            }
        }
        Ok(amount)
    };
    let value = match &definition.from {
        AmountFrom::Columns { first_of, otherwise } => {
            let found = first_of.iter().find_map(|column| row[*column].as_deref().map(|text| (*column, text)));
            let (column, text) = match (found, otherwise) {
                (Some(found), _) => found,
                (None, Some(otherwise)) => (first_of[0], otherwise.as_str()),
                (None, None) => {
                    let names = first_of.iter().map(|column| rule.columns[*column].name.as_str());
                    let names = names.collect::<Vec<_>>().join(" and ");
                    let parked =
                        Parked::new(format!("{names}: null, so there is no amount"), "Set the amount of the row.");
                    return Err(parked.of(&rule.columns[first_of[0]].name));
                }
            };
            signed(read(rule, column, text, minor_unit)?)?
        }
        AmountFrom::Difference { of, minus } => above[*of] - minus.iter().map(|other| above[*other]).sum::<Decimal>(),
        AmountFrom::Sum(amounts) => amounts.iter().map(|amount| above[*amount]).sum(),
        AmountFrom::Rounded { of, to } => rounded(above[*of], *to),
        AmountFrom::Tax { of, inside, rate, stored } => {
            let rate = match rate {
                Rate::Fixed(rate) => *rate,
                Rate::Column(column) => {
                    let name = &rule.columns[*column].name;
                    let rate = row[*column].as_deref().map(|text| amount::parse(text, 6));
                    match rate {
                        Some(Ok(rate)) if rate >= Decimal::ZERO && rate < Decimal::ONE_THOUSAND => rate,
                        _ => {
                            let advice = format!("Set {name} to a rate in percent, from 0 to below 1000.");
                            return Err(Parked::new(format!("column {name} holds no rate of tax"), advice).of(name));
                        }
                    }
                }
            };
            let computed = tax(above[*of], *inside, rate, minor_unit).ok_or_else(too_large)?;
            match stored.and_then(|column| row[column].as_deref().map(|text| (column, text))) {
                None => computed,
                Some((column, text)) => {
                    let stored = signed(read(rule, column, text, minor_unit)?)?;
                    if stored != computed {
                        let name = &rule.columns[column].name;
                        *warning = Some(format!("the tax in column {name} differs from the rate of {rate} percent"));
                    }
                    stored
                }
            }
        }
    };
    if value.normalize().scale() > minor_unit {
        return Err(Parked::new(
            format!("{} has more decimals than the {minor_unit} of the currency", definition.name),
            format!("Correct the rule {}: round it to the currency's unit.", rule.reference_type),
        ));
    }
    // Sums stay far below what a Decimal holds.
    if value.abs() >= AMOUNT_MAX { Err(too_large()) } else { Ok(value) }
}

fn too_large() -> Parked {
    Parked::new("an amount would be 10^18 or more", "Correct the amounts of the row.")
}

fn read(rule: &Rule, column: usize, text: &str, minor_unit: u32) -> Result<Decimal, Parked> {
    amount::parse(text, minor_unit).map_err(|problem| {
        let column = &rule.columns[column].name;
        Parked::new(
            format!("column {column} holds {problem}"),
            format!("Set {column} to a finite amount with at most {minor_unit} decimals."),
        )
        .of(column)
    })
}

/// Tax at so many percent, in minor units, halves rounded away from zero, so that a refund mirrors its bill. Inside the price:
/// net = round(gross × 100 / (100 + rate)), tax = gross − net (traps, 44). On top: round(net × rate / 100). Computed in whole
/// numbers, since a quotient that was cut to 28 digits may look like a half. `None` where it is too large.
fn tax(of: Decimal, inside: bool, rate: Decimal, minor_unit: u32) -> Option<Decimal> {
    let units = units(of, minor_unit)?;
    let scale = 10_i128.pow(6);
    let rate = self::units(rate, 6)?;
    let tax = match inside {
        true => units - divide_half_up(units.checked_mul(100 * scale)?, 100 * scale + rate),
        false => divide_half_up(units.checked_mul(rate)?, 100 * scale),
    };
    Decimal::try_from_i128_with_scale(tax, minor_unit).ok()
}

/// The amount in units of 10^-decimals.
fn units(amount: Decimal, decimals: u32) -> Option<i128> {
    let mut amount = amount;
    amount.rescale(decimals);
    (amount.scale() == decimals).then(|| amount.mantissa())
}

/// Rounds to a multiple of `to`, halves away from zero.
fn rounded(amount: Decimal, to: Decimal) -> Decimal {
    let decimals = amount.scale().max(to.scale());
    match (units(amount, decimals), units(to, decimals)) {
        (Some(amount), Some(to)) => Decimal::from_i128_with_scale(divide_half_up(amount, to) * to, decimals),
        _ => amount, // beyond what an amount can be: told by the bound that follows
    }
}

fn divide_half_up(dividend: i128, divisor: i128) -> i128 {
    let quotient = (2 * dividend.abs() + divisor) / (2 * divisor);
    if dividend < 0 { -quotient } else { quotient }
}

fn hold(rule: &Rule, check: &Check, amounts: &[Decimal]) -> Result<(), Parked> {
    let amount = amounts[check.amount];
    let name = |index: usize| rule.amounts[index].name.as_str();
    let this = name(check.amount);
    if let Some(other) = check.sign_of
        && !amount.is_zero()
        && !amounts[other].is_zero()
        && amount.is_sign_negative() != amounts[other].is_sign_negative()
    {
        let other = name(other);
        return Err(Parked::new(
            format!("{this} has the opposite sign of {other}"),
            format!("Correct the row: {this} and {other} are both positive, or both negative."),
        ));
    }
    if let Some(bound) = check.within
        && amount.abs() > amounts[bound].abs()
    {
        let bound = name(bound);
        return Err(Parked::new(
            format!("{this} is larger than {bound}"),
            format!("Correct the row: {this} is a part of {bound}."),
        ));
    }
    if let Some(most) = check.at_most
        && amount.abs() > most.abs()
    {
        return Err(Parked::new(
            format!("{this} is larger than {most}"),
            format!("Correct the row, or the check of {this} in rule {}.", rule.reference_type),
        ));
    }
    Ok(())
}

fn choose<'r>(rule: &'r Rule, account: &'r Account, row: &Row) -> Result<&'r str, Parked> {
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

fn target<'r>(rule: &'r Rule, step: &'r AccountChoice, row: &Row) -> Result<&'r Target, Parked> {
    let text = row[step.column].as_deref();
    let found = match text {
        None => step.null.as_ref(),
        Some(text) if text.trim().is_empty() => step.empty.as_ref(),
        Some(text) => step.map.get(&folded(text)).or(step.otherwise.as_ref()),
    };
    found.ok_or_else(|| {
        let column = &rule.columns[step.column].name;
        let kind = text.map_or("null".into(), kind);
        Parked::new(
            format!("column {column} holds {kind} that no account is mapped to"),
            format!(
                "Set {column} to a value that rule {0} maps; or map this one there, and SELECT daybook.retry('{0}', ...).",
                rule.reference_type
            ),
        )
        .of(column)
    })
}
