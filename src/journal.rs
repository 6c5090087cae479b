//! The journal: live entries, and appending entries, headers and lines in one statement, as its guards demand.

use std::collections::HashMap;

use chrono::NaiveDate;
use rust_decimal::Decimal;

use crate::capture::Cause;
use crate::database::{Parameters, Session};
use crate::error::{Doing, Error, Result};
use crate::ledger::{Book, Scope};
use crate::posting::entries::{Entry, LiveEntry};
use crate::posting::lines::{BalancedLines, Dimensions, Line};
use crate::sql;

/// The entries with these ids, with their lines, by id.
pub async fn live_entries(ledger: &Session, ids: &[i64]) -> Result<HashMap<i64, LiveEntry>> {
    let there = live_entries_there(ledger, ids).await?;
    if there.len() != ids.len() {
        return Err(Error::Unexpected(
            "a live entry is missing from the journal: compare ledger.sync_master_status with it, by `daybook reconcile`".into(),
        ));
    }
    there.into_iter().map(|(id, entry)| Ok((id, entry.map_err(Error::Unexpected)?))).collect()
}

/// Those of the entries that are in the journal; or why one cannot be, since somebody changed it past its guards.
pub async fn live_entries_there(ledger: &Session, ids: &[i64]) -> Result<HashMap<i64, Result<LiveEntry, String>>> {
    let mut lines: HashMap<i64, (NaiveDate, Vec<Line>)> = HashMap::new();
    if !ids.is_empty() {
        for row in ledger.query(sql::LIVE_LINES, &[&ids]).await.doing("reading live lines")? {
            let (_, lines) = lines.entry(row.get(0)).or_insert_with(|| (row.get(1), Vec::new()));
            lines.push(Line {
                account: row.get(2),
                amount: row.get::<_, Decimal>(3).normalize(),
                is_settlement: row.get(4),
                dimensions: Dimensions { site: row.get(5), department: row.get(6), party: row.get(7) },
            });
        }
    }
    let entry = |(id, (effective_date, lines))| match BalancedLines::net(lines) {
        Ok(lines) => (id, Ok(LiveEntry { id, effective_date, lines })),
        Err(unbalanced) => (id, Err(format!("entry {id} in the journal is unbalanced: {unbalanced}"))),
    };
    Ok(lines.into_iter().map(entry).collect())
}

/// Of these events, given with their bills, those that an entry names as its cause, with the last such entry.
pub async fn posted_events(ledger: &Session, scope: Scope<'_>, events: &[(&str, i64)]) -> Result<HashMap<i64, i64>> {
    if events.is_empty() {
        return Ok(HashMap::new());
    }
    let (reference_ids, seqs): (Vec<&str>, Vec<i64>) = events.iter().copied().unzip();
    let Scope { book, source, reference_type } = scope;
    let parameters: Parameters<'_> = &[&book, &source, &reference_type, &reference_ids, &seqs];
    let rows = ledger.query(sql::POSTED_EVENTS, parameters).await.doing("looking for entries of the events")?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// An entry with its place in the journal.
#[derive(Debug)]
pub struct Posting<'a> {
    pub id: i64,
    pub reference_id: String,
    pub revision: i32,
    pub cause: &'a Cause,
    /// Of the version of the rule that the bill was judged by.
    pub rule_hash: String,
    pub entry: Entry,
}

/// Ids for so many new entries.
pub async fn entry_ids(ledger: &Session, count: usize) -> Result<Vec<i64>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let rows = ledger.query(sql::ENTRY_IDS, &[&(count as i32)]).await.doing("taking entry ids")?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Appends entries, headers and lines in one statement.
pub async fn post(ledger: &Session, scope: Scope<'_>, book: &Book, postings: &[Posting<'_>]) -> Result<()> {
    if postings.is_empty() {
        return Ok(());
    }
    let scaled = |amount: Decimal| {
        let mut amount = amount;
        amount.rescale(book.minor_unit);
        amount
    };
    macro_rules! column {
        ($posting:ident => $value:expr) => {
            postings.iter().map(|$posting| $value).collect::<Vec<_>>()
        };
    }
    let rule_hashes = column!(p => p.rule_hash.as_str());
    let headers = (
        column!(p => p.id),
        column!(p => p.reference_id.as_str()),
        column!(p => p.revision),
        column!(p => p.entry.kind.as_str()),
        column!(p => p.entry.effective_date),
        column!(p => p.entry.posting_date),
        column!(p => p.entry.late),
        column!(p => p.entry.reverses),
        column!(p => p.entry.lines.as_slice().len() as i32),
        column!(p => scaled(p.entry.lines.total())),
    );
    let causes = (
        column!(p => p.cause.seq),
        column!(p => p.cause.origin.as_str()),
        column!(p => p.cause.xid.as_str()),
        column!(p => p.cause.changed_at),
        column!(p => p.cause.session_user_name.as_str()),
        column!(p => p.cause.application_name.as_str()),
    );
    let lines: Vec<(i64, usize, &Line)> = postings
        .iter()
        .flat_map(|p| p.entry.lines.as_slice().iter().enumerate().map(|(at, line)| (p.id, at, line)))
        .collect();
    macro_rules! line_column {
        ($line:pat => $value:expr) => {
            lines.iter().map(|$line| $value).collect::<Vec<_>>()
        };
    }
    let columns = (
        line_column!((id, _, _) => *id),
        line_column!((_, at, _) => *at as i32 + 1),
        line_column!((_, _, line) => line.account.as_str()),
        line_column!((_, _, line) => scaled(line.amount.max(Decimal::ZERO))),
        line_column!((_, _, line) => scaled((-line.amount).max(Decimal::ZERO))),
        line_column!((_, _, line) => line.is_settlement),
        line_column!((_, _, line) => line.dimensions.department.as_deref()),
        line_column!((_, _, line) => line.dimensions.party.as_deref()),
    );
    let sites = line_column!((_, _, line) => line.dimensions.site.as_deref());
    let Scope { book: book_name, source, reference_type } = scope;
    ledger
        .execute(
            sql::POST_ENTRIES,
            &[
                &book_name,
                &source,
                &reference_type,
                &rule_hashes,
                &book.currency,
                &sites,
                &headers.0,
                &headers.1,
                &headers.2,
                &headers.3,
                &headers.4,
                &headers.5,
                &headers.6,
                &headers.7,
                &headers.8,
                &headers.9,
                &causes.0,
                &causes.1,
                &causes.2,
                &causes.3,
                &causes.4,
                &causes.5,
                &columns.0,
                &columns.1,
                &columns.2,
                &columns.3,
                &columns.4,
                &columns.5,
                &columns.6,
                &columns.7,
            ],
        )
        .await
        .doing("posting entries")?;
    Ok(())
}
