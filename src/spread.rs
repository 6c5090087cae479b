//! Events of a whole table, turned into events of its bills: a TRUNCATE, a reconciliation or backfill in chunks, a key that could
//! not be read, a release of what the brake holds. Nothing is posted here.

use crate::database::Parameters;
use crate::error::{Doing, Error};
use crate::ledger::{self, Known, Scope};
use crate::queue::{self, Event, Finished, Outcome};
use crate::sql;
use crate::synchronise::{Failure, Prepared, Worker};

/// How many bills that the ledger knows are read and enqueued at a time.
const KNOWN_BILLS_PAGE: i64 = 10_000;

impl Worker {
    /// Turns events of the whole table into events of its bills. They join the queue in the transaction in which the event
    /// leaves it, or notes how far it has come.
    pub(crate) async fn spread(&mut self, reference_type: &str, events: &[&Event]) -> Result<Vec<Finished>, Failure> {
        let mut finished = Vec::new();
        for event in events {
            let is_done = match event.operation.as_str() {
                "truncate" => self.retain_truncated(reference_type).await?,
                "release" => self.release_held(reference_type).await?,
                "reconcile" => self.reconcile(reference_type, event).await?,
                _ => self.mend_capture(reference_type).await?,
            };
            if is_done {
                finished.push(Finished { seq: event.seq, outcome: Outcome::Covered, entry_id: None });
            }
        }
        Ok(finished)
    }

    async fn retain_truncated(&self, reference_type: &str) -> Result<bool, Failure> {
        let count = self.enqueue_known_bills(reference_type, Known::All, "truncate").await?;
        let message = format!(
            "the table of {reference_type} was truncated. {count} bills of it have entries; those whose rows are gone keep \
             them until somebody decides: SELECT daybook.release('{reference_type}', ...) reverses one"
        );
        self.raise("TABLE_TRUNCATED", reference_type, "critical", &message).await?;
        Ok(true)
    }

    async fn release_held(&self, reference_type: &str) -> Result<bool, Failure> {
        self.enqueue_known_bills(reference_type, Known::Held, "release").await?;
        Ok(true)
    }

    /// A key could not be read as it was attached: its present types are taken up, and the table is reconciled.
    async fn mend_capture(&self, reference_type: &str) -> Result<bool, Failure> {
        let problem = "SELECT daybook.refresh_capture($1)";
        let problem = self.source.query_one(problem, &[&reference_type]).await.doing("looking at the key")?;
        if let Some(problem) = problem.get::<_, Option<String>>(0) {
            return Err(Failure::of_the_table(Error::TableUnreadable(problem)));
        }
        let message = format!(
            "the key of a changed row of {reference_type} could not be read as it was attached; every bill of the table is \
             being synchronised"
        );
        self.raise("TABLE_DIRTY", reference_type, "warning", &message).await?;
        let parameters: Parameters<'_> = &[&self.source_name, &reference_type];
        self.source.execute(sql::ENQUEUE_RECONCILE, parameters).await.doing("having the table reconciled")?;
        Ok(true)
    }

    /// Enqueues the next chunk of the table, and at its end every bill that the ledger knows. Returns whether that is all. A
    /// backfill has no need of those: what the ledger knows has been captured since.
    async fn reconcile(&self, reference_type: &str, event: &Event) -> Result<bool, Failure> {
        let seqs = [event.seq];
        let is_repair = event.origin == "repair";
        if is_repair && event.progress_key.is_none() {
            let ended = "SELECT daybook.older_transactions_ended($1::text::xid8)";
            let ended = self.source.query_one(ended, &[&event.xid]).await.doing("looking for older transactions")?;
            if !ended.get::<_, bool>(0) {
                let why = "waits until every transaction and snapshot older than the resumption has ended";
                queue::postpone(&self.source, reference_type, &seqs, 1.0, 0, why).await?;
                return Ok(false);
            }
        }
        let parameters: Parameters<'_> = &[&reference_type, &self.backfill_queue_max];
        let full = self.source.query_one(sql::QUEUE_IS_FULL, parameters).await.doing("looking how much waits")?;
        if full.get(0) {
            let why = "waits until fewer events of the table are queued (backfill_queue_max)";
            queue::postpone(&self.source, reference_type, &seqs, 0.2, 0, why).await?;
            return Ok(false);
        }
        let Some(Prepared { table, rules, time_zone }) = self.tables.get(reference_type) else {
            return Err(Error::Unexpected(format!("{reference_type} was not prepared")).into());
        };
        let origin = if is_repair { "repair" } else { "backfill" };
        let chunk = table.enqueue_chunk(&self.source, rules, time_zone, event.progress_key.as_deref(), origin).await;
        let chunk = chunk.map_err(Failure::of_the_table)?;
        if chunk.too_long > 0 {
            let message = format!(
                "{} rows of {reference_type} have keys of more than 1,024 bytes, which are not captured: give the table a shorter \
                 unique key, and attach it by that",
                chunk.too_long
            );
            self.raise("KEYS_TOO_LONG", reference_type, "critical", &message).await?;
        }
        let parameters: Parameters<'_> = &[&reference_type, &event.seq, &chunk.progress, &chunk.seen, &chunk.enqueued];
        self.source.execute(sql::KEEP_PROGRESS, parameters).await.doing("noting the progress")?;
        if !chunk.is_last {
            return Ok(false);
        }
        if is_repair {
            self.enqueue_known_bills(reference_type, Known::All, "synchronise").await?;
        }
        self.source.execute(sql::RECONCILED, &[&reference_type]).await.doing("noting that the table is enqueued")?;
        Ok(true)
    }

    /// Enqueues the bills of the table that the ledger knows, to be synchronised only those that have no row; returns how many it
    /// knows.
    async fn enqueue_known_bills(&self, reference_type: &str, known: Known, operation: &str) -> Result<usize, Failure> {
        let scope = Scope { book: &self.book, source: &self.source_name, reference_type };
        self.ledger.begin().await.doing("beginning on the ledger")?;
        ledger::wait_for_batches(&self.ledger, scope).await.map_err(Failure::of_the_table)?;
        let mut count = 0;
        let mut last = String::new();
        loop {
            let page = ledger::known_bills(&self.ledger, scope, known, &last, KNOWN_BILLS_PAGE).await?;
            let Some(highest) = page.last() else { break };
            last.clone_from(highest);
            count += page.len();
            let page = match (operation, self.tables.get(reference_type)) {
                // The others were enqueued with the table's keys.
                ("synchronise", Some(prepared)) => {
                    let absent = prepared.table.without_row(&self.source, &page).await;
                    absent.map_err(Failure::of_the_table)?
                }
                _ => page,
            };
            self.source
                .execute(sql::ENQUEUE_KNOWN_BILLS, &[&self.source_name, &reference_type, &page, &operation])
                .await
                .doing("enqueueing bills that the ledger knows")?;
        }
        self.ledger.commit().await.doing("committing on the ledger")?;
        Ok(count)
    }
}
