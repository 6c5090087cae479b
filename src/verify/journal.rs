//! What the journal's guards demand of every entry, once more, range by range; what is in no block; and the status of bills.

use super::{Finding, Kind, Plain, Report, bill};
use crate::error::Result;

/// Statements that give one row a finding, for a range of entry ids.
const OF_RANGES: [&str; 5] = [
    include_str!("../../sql/verify/balance.sql"),
    include_str!("../../sql/verify/reversals.sql"),
    include_str!("../../sql/verify/provenance.sql"),
    include_str!("../../sql/verify/closed_periods.sql"),
    include_str!("../../sql/verify/without_status.sql"),
];

/// `mark`: everything up to this id was sealed before this look began.
pub(super) async fn look(plain: &Plain<'_>, mark: i64, report: &mut Report) -> Result<()> {
    let book = report.book.clone();
    let mut after = i64::MIN;
    loop {
        let next = plain.ask(include_str!("../../sql/verify/next_range.sql"), &[&after]).await?;
        let next: Option<i64> = next.first().and_then(|row| row.get(0));
        let up_to = next.unwrap_or(i64::MAX);
        look_for_unsealed(plain, &book, (after, up_to), mark, report).await?;
        for sql in OF_RANGES {
            for row in plain.ask(sql, &[&book, &after, &up_to]).await? {
                report.add(Finding::of(&row)?);
            }
        }
        match next {
            Some(next) => after = next,
            None => break,
        }
    }
    for row in plain.ask(include_str!("../../sql/verify/periods.sql"), &[&book]).await? {
        report.add(Finding::of(&row)?);
    }
    look_at_bills(plain, &book, report).await
}

async fn look_for_unsealed(
    plain: &Plain<'_>,
    book: &str,
    (after, up_to): (i64, i64),
    mark: i64,
    report: &mut Report,
) -> Result<()> {
    for row in plain.ask(include_str!("../../sql/verify/unsealed.sql"), &[&book, &after, &up_to]).await? {
        report.entries += 1;
        let (id, is_sealed): (i64, bool) = (row.get(0), row.get(4));
        if !is_sealed && id <= mark {
            let problem = format!(
                "it is in no block although no entry with an id up to {mark} was to come any more: it was inserted later, or its block was \
                 deleted"
            );
            let bill = bill(row.get(1), row.get(2), row.get(3));
            report.add(Finding { entry_id: Some(id), bill, ..Finding::new(Kind::Tampered, problem) });
        } else if !is_sealed {
            report.unsealed += 1;
        }
    }
    Ok(())
}

async fn look_at_bills(plain: &Plain<'_>, book: &str, report: &mut Report) -> Result<()> {
    let (mut source, mut reference_type, mut reference_id) = (String::new(), String::new(), String::new());
    loop {
        let parameters = [&book as &(dyn tokio_postgres::types::ToSql + Sync), &source, &reference_type, &reference_id];
        let last = plain.ask(include_str!("../../sql/verify/next_bills.sql"), &parameters).await?;
        let last: Option<(String, String, String)> = last.first().map(|row| (row.get(0), row.get(1), row.get(2)));
        let (last_source, last_type, last_id) = match &last {
            Some((source, reference_type, reference_id)) => (Some(source), Some(reference_type), Some(reference_id)),
            None => (None, None, None),
        };
        let page: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
            [&book, &source, &reference_type, &reference_id, &last_source, &last_type, &last_id];
        for row in plain.ask(include_str!("../../sql/verify/status.sql"), &page).await? {
            report.add(Finding::of(&row)?);
        }
        match last {
            Some(last) => (source, reference_type, reference_id) = last,
            None => return Ok(()),
        }
    }
}
