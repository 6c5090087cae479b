//! Bills of which an event waits: they differ and are only on their way. Were they not left out of a comparison, each would have a bucket of
//! others opened, and an hour in which no consumer runs would make the proof dear.

use super::bills::Judged;
use super::buckets::Sums;
use super::reading::{Reading, RowRead};
use super::{Reconciliation, Table};
use crate::capture::Look;
use crate::database::Parameters;
use crate::error::{Doing, NextStep, Result};
use crate::sql::reconcile as sql;

/// So many are left out at most. Of more, some buckets are opened.
const WAITING_MAX: i64 = 50_000;

/// So many are looked at at a time.
const PAGE: usize = 1_000;

impl Reconciliation {
    /// Takes those that differ out of the sums of rows and of those of the ledger. Where one was written, posted or changed since these were
    /// added up, both sides differ in its bucket, which is then opened.
    pub(super) async fn leave_out_waiting(
        &mut self,
        table: &mut Table,
        rows: &mut Sums,
        ledger: &mut Sums,
    ) -> Result<()> {
        let parameters: Parameters<'_> = &[&table.reference_type, &WAITING_MAX];
        let waiting = self.worker.source.query(sql::WAITING_BILLS, parameters).await.doing("looking at the queue")?;
        let waiting: Vec<String> = waiting.iter().map(|row| row.get(0)).collect();
        let (mut of_rows, mut of_ledger) = (Sums::of(rows.buckets()), Sums::of(rows.buckets()));
        for page in waiting.chunks(PAGE) {
            let ids: Vec<&str> = page.iter().map(String::as_str).collect();
            let Some(looks) = self.look_at_waiting(table, &ids).await? else { continue };
            let judged = self.judged(table, &ids).await?;
            let reading = self.reading(table)?;
            let circumstances = self.circumstances(&reading);
            for ((id, look), judged) in page.iter().zip(&looks).zip(judged) {
                let of_bill = judged.and_then(|judged| judged.row_digest);
                let waits = look.is_pending || look.table_is_pending;
                if !waits || look.found.row_digest == of_bill {
                    continue;
                }
                of_rows.add_up(row_read(look).map(Ok).into_iter(), reading.rules, circumstances, |_, _| {})?;
                if let (Some(digest), Some(Judged { is_current, fingerprint, .. })) = (of_bill, judged) {
                    of_ledger.bucket(digest).add(digest, fingerprint.filter(|_| is_current));
                }
                if !table.looked_at.contains(id) && table.left_out.insert(id.clone()) {
                    table.pending += 1;
                }
            }
            self.beat().await?;
        }
        *rows -= &of_rows;
        *ledger -= &of_ledger;
        Ok(())
    }

    /// `None` where a value of a row among them cannot be read.
    async fn look_at_waiting(&self, table: &Table, ids: &[&str]) -> Result<Option<Vec<Look>>> {
        let (Reading { table, rules, time_zone }, source) = (self.reading(table)?, &self.worker.source);
        source.begin().await.doing("beginning to read")?;
        match table.look(source, rules, time_zone, ids).await {
            Ok(looks) => {
                source.commit().await.doing("ending to read")?;
                Ok(Some(looks))
            }
            Err(error) if error.next_step() == NextStep::Park => {
                source.rollback().await.doing("rolling back on the source")?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// The row that a look found, as one that was read with others. Where it cannot be posted, it is taken to be in scope.
fn row_read(look: &Look) -> Option<RowRead> {
    let (values, digest) = (look.found.row.clone()?, look.found.row_digest?);
    Some(RowRead { reference_id: String::new(), digest, is_in_scope: true, values })
}
