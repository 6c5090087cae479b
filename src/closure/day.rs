//! A site's day of cash as a report reads it, for a terminal, a file or a printer. Money is text, as PostgreSQL made it.

use chrono::NaiveDate;
use serde::Serialize;
use tokio_postgres::{Row, Transaction};

use crate::database::{Parameters, Side};
use crate::error::Result;
use crate::report::{Book, failed};

/// Of one account, or of all together. What is not known is None: what nobody has counted yet, and, to whoever is to count, what the
/// journal expects before the day is closed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Sums {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted_as: Option<String>,
    pub expected: Option<String>,
    pub opening_float: Option<String>,
    pub counted: Option<String>,
    /// counted - opening_float - expected: over where positive, short where negative.
    pub difference: Option<String>,
}

/// One account of one count.
#[derive(Debug, Clone, Serialize)]
pub struct Count {
    pub count_no: i32,
    pub account_code: String,
    pub counted_as: Option<String>,
    pub counted: String,
    pub note: Option<String>,
    pub counted_at: String,
    pub counted_by: String,
}

/// An entry of a bill that belongs to the day and came after it was closed.
#[derive(Debug, Clone, Serialize)]
pub struct Late {
    pub source: String,
    pub reference_type: String,
    pub reference_id: String,
    pub entry_id: i64,
    pub kind: String,
    pub effective_date: NaiveDate,
    pub posting_date: NaiveDate,
    /// What it moves on the accounts that are counted.
    pub amount: String,
}

/// A spell of a day: from its opening to its closing, or to its reopening. Times are in the book's zone.
#[derive(Debug, Clone, Serialize)]
pub struct Day {
    pub book: String,
    pub currency: String,
    pub site: String,
    pub day: NaiveDate,
    pub spell: i32,
    pub state: String,
    pub opening_float: String,
    pub drawer_account: Option<String>,
    pub opened_at: String,
    pub opened_by: String,
    pub accounts: Vec<Sums>,
    pub total: Sums,
    pub counts: Vec<Count>,
    pub closed_at: Option<String>,
    pub closed_by: Option<String>,
    pub forced: Option<bool>,
    pub note: Option<String>,
    /// The entry that posts the difference, where there is one.
    pub entry_id: Option<i64>,
    pub reopened_at: Option<String>,
    pub reopened_by: Option<String>,
    pub reason: Option<String>,
    pub reversal_id: Option<i64>,
    pub late: Vec<Late>,
    /// When this was read.
    pub told_at: String,
}

impl Day {
    /// The last spell of the day, or the one that is asked for; None where there is none.
    pub async fn read(
        ledger: &Transaction<'_>,
        book: &Book,
        site: &str,
        day: NaiveDate,
        spell: Option<i32>,
    ) -> Result<Option<Day>> {
        let ask = async |sql: &str, parameters: Parameters<'_>| -> Result<Vec<Row>> {
            ledger.query(sql, parameters).await.map_err(failed(Side::Ledger))
        };
        use_zone_of(ledger, book).await?;
        let sql = include_str!("../../sql/report/cash_day.sql");
        let rows = ask(sql, &[&book.book, &site, &day, &spell, &book.minor_unit]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (spell, state): (i32, String) = (row.get("spell"), row.get("state"));

        let key: Parameters<'_> = &[&book.book, &site, &day, &spell, &book.minor_unit];
        let may_know = "SELECT has_function_privilege('ledger.expected_cash(text, text, date)', 'EXECUTE')";
        let expects = matches!(state.as_str(), "open" | "counted") && ask(may_know, &[]).await?[0].get(0);
        let sums = match expects {
            true => ask(include_str!("../../sql/report/cash_expected.sql"), key).await?,
            false => ask(include_str!("../../sql/report/cash_accounts.sql"), key).await?,
        };
        let mut accounts: Vec<Sums> = sums.iter().map(sums_of).collect();
        let total = accounts.pop().unwrap_or_default(); // there is one, whatever there is beside it
        let counts = ask(include_str!("../../sql/report/cash_counts.sql"), key).await?;
        let late = include_str!("../../sql/report/late_cash_entries.sql");
        let late = ask(late, &[&book.book, &site, &day, &book.minor_unit]).await?;
        Ok(Some(Day {
            book: book.book.clone(),
            currency: book.currency.clone(),
            site: site.into(),
            day,
            spell,
            state,
            opening_float: row.get("opening_float"),
            drawer_account: row.get("drawer_account"),
            opened_at: row.get("opened_at"),
            opened_by: row.get("opened_by"),
            accounts,
            total,
            counts: counts.iter().map(count_of).collect(),
            closed_at: row.get("closed_at"),
            closed_by: row.get("closed_by"),
            forced: row.get("forced"),
            note: row.get("note"),
            entry_id: row.get("entry_id"),
            reopened_at: row.get("reopened_at"),
            reopened_by: row.get("reopened_by"),
            reason: row.get("reason"),
            reversal_id: row.get("reversal_id"),
            late: late.iter().map(late_of).collect(),
            told_at: row.get("told_at"),
        }))
    }
}

/// Has PostgreSQL write times as they are in the book's zone, until the transaction ends.
pub async fn use_zone_of(ledger: &Transaction<'_>, book: &Book) -> Result<()> {
    let zone = "SELECT set_config('TimeZone', time_zone, true) FROM ledger.books WHERE book = $1";
    ledger.query(zone, &[&book.book]).await.map_err(failed(Side::Ledger))?;
    Ok(())
}

fn sums_of(row: &Row) -> Sums {
    Sums {
        account_code: row.get("account_code"),
        account_name: row.get("account_name"),
        counted_as: row.get("counted_as"),
        expected: row.get("expected"),
        opening_float: row.get("opening_float"),
        counted: row.get("counted"),
        difference: row.get("difference"),
    }
}

fn count_of(row: &Row) -> Count {
    Count {
        count_no: row.get("count_no"),
        account_code: row.get("account_code"),
        counted_as: row.get("counted_as"),
        counted: row.get("counted"),
        note: row.get("note"),
        counted_at: row.get("counted_at"),
        counted_by: row.get("counted_by"),
    }
}

fn late_of(row: &Row) -> Late {
    Late {
        source: row.get("source"),
        reference_type: row.get("reference_type"),
        reference_id: row.get("reference_id"),
        entry_id: row.get("entry_id"),
        kind: row.get("kind"),
        effective_date: row.get("effective_date"),
        posting_date: row.get("posting_date"),
        amount: row.get("amount"),
    }
}
