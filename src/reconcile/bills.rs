//! Every bill of a table. Cheaply: digests of its rows beside those that its bills were last judged from, by buckets; what differs is
//! opened. Or each row through the posting function, beside the fingerprint of what its bill amounts to. Both only name candidates,
//! which are looked at under their locks.

use std::collections::{HashMap, HashSet};

use super::buckets::{Bucket, Sums, amounts_to, buckets_for, fingerprint_of};
use super::clinic::{Owed, RowRule, warning};
use super::findings::FoundBy;
use super::ledger_scan::LedgerSums;
use super::reading::{Opened, Place, Reading, RowRead, Rows, Stretches};
use super::{LOOKED_AT_MAX, Reconciliation, Table, WARNINGS_MAX};
use crate::database::Parameters;
use crate::error::{Doing, Error, NextStep, Result};
use crate::ledger::{self, Known, Scope};
use crate::posting::desired::{Circumstances, Desired, Wanted, desired};
use crate::posting::rule::RuleSet;
use crate::sql::reconcile as sql;
use crate::synchronise::Prepared;

/// So many rows are opened at most, beside those that wait; where more buckets differ, each row is looked at instead, in bounded memory.
const OPENED_ROWS_MAX: i64 = 200_000;

/// Rows that go through the posting function at a time, at most. The work goes to the server and back once for them, and each time the busy
/// processor may become the other one: until the system has moved it, which takes some 40 ms, the application waits for the one that it had.
const ROWS_MAX: i64 = 200_000;

/// Of wide rows fewer, so that about so many bytes are sent at a time, if they are as wide as those before: the server keeps twice as much in
/// its memory until the last one is read.
const ROWS_BYTES: usize = 32 << 20;

/// So many while nobody knows how wide they are, or where one of them cannot be read.
const ROWS_FIRST: i64 = 10_000;

/// Bills that the ledger is asked of at a time.
pub(super) const PAGE: i64 = 10_000;

/// What comparing a table's rows with its bills in the ledger came to.
struct Compared {
    /// Whether no bill can have been passed over.
    is_complete: bool,
    ledger: LedgerSums,
}

impl Reconciliation {
    /// By digests, or each row, asked what the clinic's rules ask. Returns what the ledger says besides.
    pub(super) async fn look_at_bills(&mut self, table: &mut Table, asked: &[RowRule]) -> Result<LedgerSums> {
        let every_row = self.options.full || self.options.site.is_some();
        if every_row {
            let Compared { is_complete, ledger } = self.judge_every_row(table, asked).await?;
            if is_complete {
                return Ok(ledger);
            }
        }
        let Compared { is_complete, ledger } = self.compare_digests(table).await?;
        if !is_complete {
            // Too much differs to be opened: each row is looked at instead, in bounded memory.
            if !every_row {
                self.judge_every_row(table, asked).await?;
            }
            self.look_for_orphans(table).await?;
        }
        Ok(ledger)
    }

    /// Compares digests by buckets, and looks at what differs, unless that is too much.
    async fn compare_digests(&mut self, table: &mut Table) -> Result<Compared> {
        let buckets = buckets_for(table);
        let mut source = self.source_sums(table, buckets).await?;
        let mut ledger = self.ledger_sums(table, buckets).await?;
        table.bills = source.rows();
        if !source.differing(&ledger.sums, Bucket::has_rows_of).0.is_empty() {
            self.leave_out_waiting(table, &mut source, &mut ledger.sums).await?;
        }
        let (differing, rows) = source.differing(&ledger.sums, Bucket::has_rows_of);
        self.beat().await?;
        let is_complete = rows <= OPENED_ROWS_MAX;
        if is_complete && !differing.is_empty() {
            let candidates = self.open(table, buckets, &differing).await?;
            self.look_at(table, candidates).await?;
        }
        Ok(Compared { is_complete, ledger })
    }

    pub(super) fn reading<'a>(&'a self, table: &Table) -> Result<Reading<'a>> {
        match self.worker.tables.get(&table.reference_type) {
            Some(Prepared { table, rules, time_zone }) => Ok(Reading { table, rules, time_zone }),
            None => Err(Error::Unexpected(format!("{} was not prepared", table.reference_type))),
        }
    }

    async fn source_sums(&self, table: &Table, buckets: i64) -> Result<Sums> {
        let reading = self.reading(table)?;
        let (mut sums, mut stretches) = (Sums::of(buckets), Stretches::new());
        while let Some(stretch) = stretches.next(&reading, &self.worker.source).await? {
            for (bucket, rows, digests) in reading.bucket_sums(&self.worker.source, &stretch, buckets).await? {
                let sum = sums.bucket(bucket);
                sum.rows += rows;
                sum.digests += digests;
            }
        }
        Ok(sums)
    }

    /// The bills of these buckets whose digests differ, or that one side alone has.
    async fn open(&self, table: &Table, buckets: i64, opened: &[i64]) -> Result<Vec<String>> {
        let Scope { book, source, reference_type } = self.scope(table);
        let parameters: Parameters<'_> = &[&book, &source, &reference_type, &(buckets - 1), &opened];
        let judged = self.scans.query(sql::OPEN_BUCKETS, parameters).await.doing("reading digests of bills")?;
        let mut judged: HashMap<String, i64> = judged.iter().map(|row| (row.get(0), row.get(1))).collect();
        let reading = self.reading(table)?;
        let (mut candidates, mut stretches) = (HashSet::new(), Stretches::new());
        while let Some(stretch) = stretches.next(&reading, &self.worker.source).await? {
            for (reference_id, digest) in reading.open_buckets(&self.worker.source, &stretch, buckets, opened).await? {
                match judged.remove(&reference_id) {
                    Some(of_bill) if of_bill == digest => {}
                    _ => {
                        candidates.insert(reference_id);
                    }
                }
            }
        }
        candidates.extend(judged.into_keys());
        Ok(candidates.into_iter().collect())
    }

    /// Takes each row through the posting function, asks it what the clinic's rules ask, and adds up by buckets what the rows amount to
    /// beside what the ledger was last told; where that differs, looks at the bills. It is complete where the digests of all rows add up to
    /// those of all bills, so that there is no bill without its row either.
    async fn judge_every_row(&mut self, table: &mut Table, asked: &[RowRule]) -> Result<Compared> {
        table.how = "every row";
        let buckets = buckets_for(table);
        let mut sums = Sums::of(buckets);
        let mut owed = self.owed_for_too_long().await?;
        let (mut after, mut at_a_time): (Place, i64) = (None, ROWS_FIRST);
        loop {
            let RowsRead { rows, unread, end } = self.next_rows(table, after.take(), at_a_time, asked, None).await?;
            at_a_time = fitting(rows.as_ref().map(Rows::size), at_a_time);
            table.has_unasked_rows |= rows.as_ref().is_none_or(|rows| rows.asked < asked.len());
            let room = LOOKED_AT_MAX.saturating_sub(table.may_be_owed.len());
            table.may_be_owed.extend(unread.iter().take(room).cloned());
            self.look_at(table, unread).await?;
            if let Some(rows) = &rows {
                note_warnings(table, rows, asked);
            }
            let (rules, go_live) = match self.worker.tables.get(&table.reference_type) {
                Some(Prepared { table, rules, .. }) => (rules.clone(), table.go_live()),
                None => return Err(Error::Unexpected(format!("{} was not prepared", table.reference_type))),
            };
            let (site, minor_unit) = (self.worker.source_name.clone(), self.minor_unit);
            // Beside whatever else this process does, and before the next are read: see SCANS.
            let judging = tokio::task::spawn_blocking(move || {
                let rows = rows.iter().flat_map(Rows::iter);
                let show = |id: &str, desired: &Desired| owed.iter_mut().for_each(|owed| owed.look_at(id, desired));
                sums.add_up(rows, &rules, Circumstances { minor_unit, site: &site, go_live }, show)?;
                Ok::<_, Error>((sums, owed))
            });
            let judged = self.alive_until(judging).await?;
            (sums, owed) = judged.map_err(|error| Error::Unexpected(format!("judging rows: {error}")))??;
            self.beat().await?;
            if end.is_none() {
                break;
            }
            after = end;
        }
        table.bills = sums.rows();
        table.may_be_owed.extend(owed.into_iter().flat_map(Owed::into_bills));
        let mut ledger = self.ledger_sums(table, buckets).await?;
        if sums != ledger.sums {
            self.leave_out_waiting(table, &mut sums, &mut ledger.sums).await?;
        }
        let (differing, _) = sums.differing(&ledger.sums, Bucket::eq);
        if !differing.is_empty() {
            self.judge_buckets(table, buckets - 1, &differing).await?;
        }
        Ok(Compared { is_complete: sums.have_rows_of(&ledger.sums), ledger })
    }

    /// Takes the rows of some buckets through the posting function once more, and looks at those bills that amount to something else.
    async fn judge_buckets(&mut self, table: &mut Table, mask: i64, buckets: &[i64]) -> Result<()> {
        let (mut after, mut at_a_time): (Place, i64) = (None, ROWS_FIRST);
        loop {
            let RowsRead { rows, unread, end } =
                self.next_rows(table, after.take(), at_a_time, &[], Some(Opened { mask, buckets })).await?;
            at_a_time = fitting(rows.as_ref().map(Rows::size), at_a_time);
            self.look_at(table, unread).await?;
            let mut rows = rows.iter().flat_map(Rows::iter);
            loop {
                let some = rows.by_ref().take(PAGE as usize).collect::<Result<Vec<RowRead>>>()?;
                if some.is_empty() {
                    break;
                }
                let candidates = self.judge_rows(table, &self.reading(table)?, some).await?;
                self.look_at(table, candidates).await?;
            }
            self.beat().await?;
            if end.is_none() {
                return Ok(());
            }
            after = end;
        }
    }

    pub(super) fn circumstances(&self, reading: &Reading<'_>) -> Circumstances<'_> {
        Circumstances { minor_unit: self.minor_unit, site: &self.worker.source_name, go_live: reading.table.go_live() }
    }

    /// The next rows, asked what the clinic's rules ask. Where a value of one cannot be read, such as a date that no time zone can move, they
    /// are not asked; or else the ids of all of them are told instead, which are then looked at one by one.
    async fn next_rows(
        &self,
        table: &Table,
        after: Place,
        at_a_time: i64,
        asked: &[RowRule],
        opened: Option<Opened<'_>>,
    ) -> Result<RowsRead> {
        let (reading, source) = (self.reading(table)?, &self.worker.source);
        let few = at_a_time.min(ROWS_FIRST);
        let fewer = (!asked.is_empty() || few < at_a_time).then_some((&[][..], few));
        for (asked, rows) in [(asked, at_a_time)].into_iter().chain(fewer) {
            match reading.rows(source, after.clone(), rows, asked, opened).await {
                Ok((rows, end)) => return Ok(RowsRead { rows: Some(rows), unread: Vec::new(), end }),
                Err(error) if error.next_step() == NextStep::Park => {
                    source.rollback().await.doing("rolling back on the source")?;
                }
                Err(error) => return Err(error),
            }
        }
        let (unread, end) = reading.keys(source, after, few).await?;
        Ok(RowsRead { rows: None, unread, end })
    }

    /// Those of the rows whose bill is not known to amount to what the posting function says.
    async fn judge_rows(&self, table: &Table, reading: &Reading<'_>, rows: Vec<RowRead>) -> Result<Vec<String>> {
        let ids: Vec<&str> = rows.iter().map(|row| row.reference_id.as_str()).collect();
        let is_known = self.judged(table, &ids).await?;
        let circumstances = self.circumstances(reading);
        let agrees = |row: &RowRead, known: Option<Judged>| {
            let Some(wanted) = amounts_to(reading.rules, circumstances, row) else { return false };
            match known {
                Some(judged) => {
                    judged.is_current
                        && judged.fingerprint == fingerprint_of(&wanted)
                        && judged.row_digest == Some(row.digest).filter(|_| wanted != Wanted::OutOfScope)
                }
                None => wanted == Wanted::OutOfScope,
            }
        };
        let is_meant = |row: &RowRead| match &self.options.site {
            None => true,
            Some(site) => self.is_of_site(reading.rules, circumstances, row, site),
        };
        let candidates = rows.iter().zip(is_known).filter(|(row, known)| !agrees(row, *known) && is_meant(row));
        Ok(candidates.map(|(row, _)| row.reference_id.clone()).collect())
    }

    /// What the ledger last judged bills from; `None` where it does not know one.
    pub(super) async fn judged(&self, table: &Table, ids: &[&str]) -> Result<Vec<Option<Judged>>> {
        let Scope { book, source, reference_type } = self.scope(table);
        let parameters: Parameters<'_> = &[&book, &source, &reference_type, &ids];
        let rows =
            self.worker.ledger.query(sql::JUDGED_BILLS, parameters).await.doing("reading the status of bills")?;
        let mut judged: Vec<Option<Judged>> = vec![None; ids.len()];
        for row in &rows {
            let of_bill = Judged { is_current: row.get(1), row_digest: row.get(2), fingerprint: row.get(3) };
            judged[row.get::<_, i64>(0) as usize - 1] = Some(of_bill);
        }
        Ok(judged)
    }

    fn is_of_site(&self, rules: &RuleSet, circumstances: Circumstances<'_>, row: &RowRead, site: &str) -> bool {
        match rules.version_for(&row.values).and_then(|rule| desired(rule, circumstances, &row.values)) {
            Ok(Wanted::Lines(desired)) => {
                desired.lines.as_slice().iter().any(|line| line.dimensions.site.as_deref() == Some(site))
            }
            Ok(_) => false,
            Err(_) => true, // nobody can tell
        }
    }

    /// The bills that digests do not prove: not current ones, those judged by a version that is not in force, those with entries and no
    /// row. And those that have an open finding, which may be over.
    pub(super) async fn look_at_odd_bills(&mut self, table: &mut Table, ledger: &LedgerSums) -> Result<()> {
        if !ledger.has_odd_bills {
            let (_, not_current) = self.not_current(&[&table.reference_type]).await?;
            self.look_at(table, not_current).await?;
            return self.look_at_open_findings(table).await;
        }
        let rules = self.versions(table)?;
        let mut last = String::new();
        loop {
            let Scope { book, source, reference_type } = self.scope(table);
            let parameters: Parameters<'_> = &[&book, &source, &reference_type, &rules, &last, &PAGE];
            let page = self.scans.query(sql::ODD_BILLS, parameters).await.doing("reading the status of bills")?;
            let page: Vec<String> = page.iter().map(|row| row.get(0)).collect();
            let Some(highest) = page.last() else { break };
            last.clone_from(highest);
            self.look_at(table, page).await?;
            self.beat().await?;
        }
        self.look_at_open_findings(table).await
    }

    pub(super) async fn look_at_open_findings(&mut self, table: &mut Table) -> Result<()> {
        let mut last = String::new();
        while let Some(page) = self.open_findings(FoundBy::Bills, table, &last).await? {
            last.clone_from(&page[page.len() - 1]);
            self.look_at(table, page).await?;
        }
        Ok(())
    }

    /// The next bills after one that have an open finding of a look; `None` where there are no more.
    pub(super) async fn open_findings(&self, by: FoundBy, table: &Table, last: &str) -> Result<Option<Vec<String>>> {
        let parameters: Parameters<'_> = &[&table.reference_type, &last, &PAGE, &by.as_str()];
        let page = self.worker.source.query(sql::OPEN_FINDINGS, parameters).await.doing("reading open findings")?;
        Ok(Some(page.iter().map(|row| row.get(0)).collect()).filter(|page: &Vec<String>| !page.is_empty()))
    }

    /// The bills that the ledger knows and that have no row: for where digests were not opened.
    async fn look_for_orphans(&mut self, table: &mut Table) -> Result<()> {
        let mut last = String::new();
        loop {
            let page = ledger::known_bills(&self.worker.ledger, self.scope(table), Known::All, &last, PAGE).await?;
            let Some(highest) = page.last() else { return Ok(()) };
            last.clone_from(highest);
            let orphans = {
                let reading = self.reading(table)?;
                self.worker.source.begin().await.doing("beginning to read")?;
                reading.table.hold_still(&self.worker.source).await?;
                let orphans = reading.table.without_row(&self.worker.source, &page).await?;
                self.worker.source.commit().await.doing("ending to read")?;
                orphans
            };
            self.look_at(table, orphans).await?;
            self.beat().await?;
        }
    }
}

/// Rows as they were read.
struct RowsRead {
    /// `None` where one of them cannot be read.
    rows: Option<Rows>,
    /// The keys of rows among which one could not be read.
    unread: Vec<String>,
    end: Place,
}

/// How many rows to read next, after those that came last: their number and bytes.
fn fitting(last: Option<(usize, usize)>, at_a_time: i64) -> i64 {
    match last {
        Some((count @ 1.., bytes @ 1..)) => ((ROWS_BYTES * count / bytes) as i64).clamp(1, ROWS_MAX),
        _ => at_a_time,
    }
}

/// What the status of a bill says of how it was judged last.
#[derive(Clone, Copy)]
pub(super) struct Judged {
    pub is_current: bool,
    pub row_digest: Option<i64>,
    pub fingerprint: Option<i64>,
}

/// Keeps what the rows say that is against the clinic's rules.
fn note_warnings(table: &mut Table, rows: &Rows, asked: &[RowRule]) {
    for (at, rule) in asked.iter().enumerate().take(rows.asked) {
        let kept = table.warnings.iter().filter(|warning| warning.kind == rule.kind).count();
        let against = rows.against(at).take(WARNINGS_MAX - kept);
        table.warnings.extend(against.map(|(id, day)| warning(rule.kind, &table.reference_type, id, day)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_wide_rows_fewer_are_read_at_a_time() {
        let narrow = fitting(Some((10_000, 1_000_000)), ROWS_FIRST);
        assert_eq!(narrow, ROWS_MAX, "a hundred bytes a row");
        let wide = fitting(Some((10_000, 100_000_000)), ROWS_FIRST);
        assert!((2_000..4_000).contains(&wide), "ten thousand bytes a row: {wide} rows");
        assert_eq!(fitting(Some((1, usize::MAX >> 24)), ROWS_FIRST), 1, "one row at least, however wide");
        assert_eq!(fitting(Some((0, 30)), 777), 777, "nobody knows");
        assert_eq!(fitting(None, 777), 777, "they could not be read");
    }
}
