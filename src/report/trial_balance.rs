//! `daybook trial-balance`: what the accounts of a book amount to, by posting date.

use chrono::NaiveDate;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use tokio_postgres::{Row, Transaction};

use super::{Book, check_order, choose_book, day, failed, look, printable, snapshot};
use crate::database::Side;
use crate::error::{Error, Result};
use crate::options::Databases;
use crate::print;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Book [default: the ledger's only one, else the source's]
    #[arg(long)]
    book: Option<String>,
    /// Only lines of this site
    #[arg(long)]
    site: Option<String>,
    /// All that is posted up to and including this day
    #[arg(long, value_name = "DATE")]
    as_of: Option<String>,
    /// What moved from this day on, with the balances before and after; balance is the movement, debit - credit
    #[arg(long, value_name = "DATE")]
    from: Option<String>,
    /// Until this day [default: all that is posted]
    #[arg(long, value_name = "DATE")]
    to: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// The days that are asked for, by posting date and inclusive; None is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Days {
    from: Option<NaiveDate>,
    to: Option<NaiveDate>,
}

/// One account, or the total. Amounts are texts with the currency's decimals.
#[derive(Debug, Serialize)]
pub struct Sums {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_type: Option<String>,
    /// Balance before the span; only where a span was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opening: Option<String>,
    pub debit: String,
    pub credit: String,
    /// Debit minus credit, of the span where one was asked for.
    pub balance: String,
    /// Balance after the span; only where a span was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closing: Option<String>,
}

/// The trial balance of a book, or of one of its sites.
#[derive(Debug, Serialize)]
pub struct TrialBalance {
    pub book: String,
    pub currency: String,
    pub site: Option<String>,
    pub from: Option<NaiveDate>,
    /// The last day that counts; everything where it is left out.
    pub to: Option<NaiveDate>,
    pub accounts: Vec<Sums>,
    pub total: Sums,
    /// Whether debits equal credits, before and within the span.
    pub is_balanced: bool,
}

impl Arguments {
    fn days(&self) -> Result<Days> {
        let as_of = day("as-of", self.as_of.as_deref())?;
        let from = day("from", self.from.as_deref())?;
        let to = day("to", self.to.as_deref())?;
        check_order(from, to)?;
        match (as_of, from, to) {
            (Some(_), None, None) => Ok(Days { from: None, to: as_of }),
            (Some(_), _, _) => Err(Error::Usage(
                "--as-of is the balance of a day, --from and --to are a span: give one or the other".into(),
            )),
            (None, None, Some(to)) => {
                Err(Error::Usage(format!("--to {to} needs --from; for all up to that day say --as-of {to}")))
            }
            (None, _, _) => Ok(Days { from, to }),
        }
    }
}

/// Prints the trial balance; returns the exit code, 1 where it does not balance.
pub async fn run(arguments: Arguments, databases: &Databases) -> Result<u8> {
    let days = arguments.days()?;
    let mut client = look(Side::Ledger, &databases.ledger).await?;
    let ledger = snapshot(&mut client).await?;
    let book = choose_book(databases, &ledger, arguments.book.as_deref()).await?;
    let balance = read(&ledger, &book, arguments.site, days).await?;
    match arguments.json {
        true => {
            let text = serde_json::to_string_pretty(&balance);
            print::line(text.map_err(|error| Error::Unexpected(error.to_string()))?);
        }
        false => print::line(balance.to_text()),
    }
    if let (Some(site), true) = (&balance.site, balance.accounts.is_empty()) {
        eprintln!("daybook: nothing of site {} is posted in these days: check its name", printable(site));
    }
    if let Some(problem) = balance.problem() {
        eprintln!("daybook: {problem}");
        return Ok(1);
    }
    Ok(0)
}

async fn read(ledger: &Transaction<'_>, book: &Book, site: Option<String>, days: Days) -> Result<TrialBalance> {
    let sql = include_str!("../../sql/report/trial_balance.sql");
    let rows = ledger
        .query(sql, &[&book.book, &site, &days.from, &days.to, &book.minor_unit])
        .await
        .map_err(failed(Side::Ledger))?;
    let is_balanced = rows.last().is_some_and(|total| total.get("is_balanced"));
    let mut accounts: Vec<Sums> = rows.iter().map(|row| sums(row, days.from.is_some())).collect();
    let total = accounts.pop().ok_or_else(|| Error::Unexpected("the trial balance came without its total".into()))?;
    let Book { book, currency, .. } = book.clone();
    Ok(TrialBalance { book, currency, site, from: days.from, to: days.to, accounts, total, is_balanced })
}

fn sums(row: &Row, with_span: bool) -> Sums {
    Sums {
        account_code: row.get("account_code"),
        account_name: row.get("account_name"),
        account_type: row.get("account_type"),
        opening: with_span.then(|| row.get("opening")),
        debit: row.get("debit"),
        credit: row.get("credit"),
        balance: row.get("balance"),
        closing: with_span.then(|| row.get("closing")),
    }
}

impl TrialBalance {
    /// What is wrong with it: the debits of a book equal its credits at every time, or somebody got past the journal's guards.
    fn problem(&self) -> Option<String> {
        if self.is_balanced {
            return None;
        }
        let Sums { debit, credit, opening, .. } = &self.total;
        let opened = opening.as_deref().unwrap_or("0");
        Some(format!(
            "book {} does not balance: debits {debit}, credits {credit}, opening {opened}. Lines were written past the \
             journal's guards: GROUP BY entry_id in ledger.journal_lines finds them",
            self.book
        ))
    }

    /// The same for a terminal.
    pub fn to_text(&self) -> String {
        let mut days = match (self.from, self.to) {
            (None, None) => "all that is posted".to_string(),
            (None, Some(to)) => format!("as of {to}"),
            (Some(from), None) => format!("from {from}"),
            (Some(from), Some(to)) => format!("from {from} to {to}"),
        };
        if let Some(site) = &self.site {
            days = format!("site {}, {days}", printable(site));
        }
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(cells(["account", "name", "type"], |name| Some(name.into()), self.from.is_some()));
        for sums in self.accounts.iter().chain([&self.total]) {
            let text = |text: &Option<String>| printable(text.as_deref().unwrap_or_default());
            let code = sums.account_code.as_deref().unwrap_or("total");
            let names = [code, &text(&sums.account_name), &text(&sums.account_type)];
            let amount = |column: &str| match column {
                "opening" => sums.opening.clone(),
                "debit" => Some(sums.debit.clone()),
                "credit" => Some(sums.credit.clone()),
                "balance" => Some(sums.balance.clone()),
                _ => sums.closing.clone(),
            };
            table.add_row(cells(names, amount, self.from.is_some()));
        }
        for column in table.column_iter_mut().skip(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("book {} in {}, {days}\n{table}", self.book, self.currency)
    }
}

/// A row of the table: names, then amounts in their order.
fn cells(names: [&str; 3], amount: impl Fn(&str) -> Option<String>, with_span: bool) -> Vec<String> {
    let columns: &[&str] = match with_span {
        true => &["opening", "debit", "credit", "balance", "closing"],
        false => &["debit", "credit", "balance"],
    };
    let amounts = columns.iter().map(|column| amount(column).unwrap_or_default());
    names.iter().map(|name| name.to_string()).chain(amounts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(as_of: &str, from: &str, to: &str) -> Result<Days> {
        let given = |text: &str| Some(text.to_string()).filter(|text| !text.is_empty());
        let (as_of, from, to) = (given(as_of), given(from), given(to));
        Arguments { book: None, site: None, as_of, from, to, json: false }.days()
    }

    #[test]
    fn a_day_or_a_span_is_asked_for_and_never_both() {
        let day = |text: &str| text.parse::<NaiveDate>().ok();
        let table = [
            ("", "", "", Some((None, None))),
            ("2024-01-31", "", "", Some((None, day("2024-01-31")))),
            ("", "2024-01-01", "2024-01-31", Some((day("2024-01-01"), day("2024-01-31")))),
            ("", "2024-01-01", "2024-01-01", Some((day("2024-01-01"), day("2024-01-01")))),
            ("", "2024-01-01", "", Some((day("2024-01-01"), None))),
            ("", "", "2024-01-31", None),
            ("2024-01-31", "2024-01-01", "", None),
            ("2024-01-31", "", "2024-01-31", None),
            ("", "2024-02-01", "2024-01-31", None),
            ("yesterday", "", "", None),
        ];
        for (as_of, from, to, expected) in table {
            let found = days(as_of, from, to).ok();
            assert_eq!(found, expected.map(|(from, to)| Days { from, to }), "{as_of} {from} {to}");
        }
    }
}
