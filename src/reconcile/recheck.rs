//! Looking at single bills under their locks: what a comparison from afar found is told only if it is still so while nobody can post,
//! and nothing of the bill is on its way.

use super::findings::{Finding, Kind};
use super::verdict::{Verdict, verdict};
use crate::error::{Doing, Error, NextStep, Result};
use crate::journal;
use crate::judgement::{Law, judge};
use crate::ledger::{self, Digests, Scope, Status};
use crate::posting::entries::LiveEntry;
use crate::sql::reconcile as sql;
use crate::synchronise::{Prepared, Worker};

/// So many bills are locked at once.
pub(super) const BILLS_MAX: usize = 200;

/// How often a look is begun anew, because a lock was not free or the rule changed meanwhile.
const TRIES_MAX: u32 = 5;

/// What looks at bills came to.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// An event of theirs waits.
    pub pending: Vec<String>,
    /// The ledger agrees.
    pub equal: Vec<String>,
    /// They are parked or retained.
    pub excused: Vec<String>,
    /// What differs, and whether the bill was ever judged.
    pub differ: Vec<(Finding, bool)>,
}

impl Worker {
    /// Loads rule and table; [`Worker::pass`] does the same for a batch.
    pub(super) async fn make_ready(&mut self, reference_type: &str) -> Result<()> {
        self.source.begin().await.doing("beginning on the source")?;
        let prepared = self.prepare(reference_type).await.map_err(|failure| failure.error);
        match prepared {
            Ok(()) => self.source.commit().await.doing("committing on the source"),
            Err(error) => {
                self.source.rollback().await.doing("rolling back on the source")?;
                Err(error)
            }
        }
    }

    /// Looks at bills, a batch at most. Changes nothing in the ledger but digests of bills that agree.
    pub(super) async fn recheck(&mut self, reference_type: &str, reference_ids: &[String]) -> Result<Looked> {
        let mut ids: Vec<&str> = reference_ids.iter().map(String::as_str).collect();
        ids.sort_unstable(); // bytewise: the order in which bills are locked
        ids.dedup();
        let mut tries = 0;
        loop {
            self.make_ready(reference_type).await?;
            let error = match self.look_under_lock(reference_type, &ids).await {
                Ok(looked) => return Ok(looked),
                Err(error) => error,
            };
            self.rollback().await?;
            self.forget(reference_type);
            tries += 1;
            let may_pass = matches!(error, Error::DefinitionChanged(_))
                || matches!(error.next_step(), NextStep::Retry | NextStep::Wait);
            match (may_pass && tries < TRIES_MAX, error.next_step()) {
                (true, _) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
                // One row's value fails the read of all: they are looked at one by one.
                (false, NextStep::Park) if ids.len() > 1 => return self.one_by_one(reference_type, &ids).await,
                (false, NextStep::Park) => {
                    let looked = self.refused(reference_type, ids[0], &error).await?;
                    self.make_ready(reference_type).await?; // whoever asked goes on with the table
                    return Ok(looked);
                }
                (false, _) => return Err(error),
            }
        }
    }

    async fn one_by_one(&mut self, reference_type: &str, ids: &[&str]) -> Result<Looked> {
        let mut all = Looked::default();
        for id in ids {
            let Looked { pending, equal, excused, differ } =
                Box::pin(self.recheck(reference_type, &[id.to_string()])).await?;
            all.pending.extend(pending);
            all.equal.extend(equal);
            all.excused.extend(excused);
            all.differ.extend(differ);
        }
        Ok(all)
    }

    /// A bill whose row cannot be read: it should be parked.
    async fn refused(&mut self, reference_type: &str, id: &str, error: &Error) -> Result<Looked> {
        let sql = "SELECT EXISTS (SELECT FROM daybook.sync_queue WHERE reference_type = $1 AND (reference_id = $2 OR reference_id IS NULL))";
        let waits: bool =
            self.source.query_one(sql, &[&reference_type, &id]).await.doing("looking at the queue")?.get(0);
        let sql =
            "SELECT EXISTS (SELECT FROM daybook.sync_dead_letter WHERE reference_type = $1 AND reference_id = $2)";
        let is_parked: bool =
            self.source.query_one(sql, &[&reference_type, &id]).await.doing("looking at dead letters")?.get(0);
        let mut looked = Looked::default();
        match (waits, is_parked) {
            (true, _) => looked.pending.push(id.into()),
            (_, true) => looked.excused.push(id.into()),
            (false, false) => {
                let why = format!("{reference_type} {id}: its row cannot be read, and it is not parked: {error}");
                looked.differ.push((Finding::of_bill(Kind::Stale, reference_type, id, why), true));
            }
        }
        Ok(looked)
    }

    async fn look_under_lock(&self, reference_type: &str, ids: &[&str]) -> Result<Looked> {
        let Some(Prepared { table, rules, time_zone }) = self.tables.get(reference_type) else {
            return Err(Error::Unexpected(format!("{reference_type} was not prepared")));
        };
        let scope = Scope { book: &self.book, source: &self.source_name, reference_type };
        self.ledger.begin().await.doing("beginning on the ledger")?;
        let statuses = ledger::lock_bills(&self.ledger, scope, ids).await?;
        let book = ledger::lock_book(&self.ledger, &self.book).await?;
        ledger::check_rules(&self.ledger, &self.book, rules).await?;
        let live_ids: Vec<i64> = statuses.iter().flat_map(|status| status.live_entry_ids.iter().copied()).collect();
        let live = journal::live_entries_there(&self.ledger, &live_ids).await?;
        self.source.begin().await.doing("beginning on the source")?;
        let looks = table.look(&self.source, rules, time_zone, ids).await?;
        self.source.commit().await.doing("committing on the source")?;
        // Bills that the ledger did not know leave no row behind.
        self.ledger.rollback().await.doing("ending the look")?;

        let law =
            Law { rules, book: &book, site: &self.source_name, go_live: table.go_live(), on_delete: table.on_delete() };
        let mut looked = Looked::default();
        let mut refreshed: Vec<(&Status, Digests)> = Vec::new();
        for (status, look) in statuses.iter().zip(&looks) {
            let id = status.reference_id.clone();
            if look.is_pending || look.table_is_pending {
                looked.pending.push(id);
                continue;
            }
            let entries = status.live_entry_ids.iter().filter_map(|id| live.get(id).cloned());
            let (sound, broken): (Vec<_>, Vec<_>) = entries.partition(Result::is_ok);
            let entries: Vec<LiveEntry> = sound.into_iter().filter_map(Result::ok).collect();
            if let Some(Err(why)) = broken.into_iter().next() {
                let finding =
                    Finding::of_bill(Kind::Unbalanced, reference_type, &id, format!("{reference_type} {id}: {why}"));
                looked.differ.push((finding, true));
                continue;
            }
            let judgement = judge(&law, status, &entries, &look.found, false);
            match verdict(reference_type, &judgement, status, &entries, &look.found) {
                Verdict::Equal { refresh } => {
                    refreshed.extend(refresh.map(|digests| (status, digests)));
                    looked.equal.push(id);
                }
                Verdict::Excused => looked.excused.push(id),
                Verdict::Differs(mut finding) => {
                    if let Some(entry) = judgement.entries().last() {
                        finding.day = Some(entry.effective_date);
                        finding.site = entry.lines.as_slice().first().and_then(|line| line.dimensions.site.clone());
                    }
                    looked.differ.push((*finding, status.synchronisation > 0));
                }
            }
        }
        self.refresh(scope, &refreshed).await?;
        Ok(looked)
    }

    /// Notes what bills that agree were judged from, so that they are not looked at again.
    async fn refresh(&self, scope: Scope<'_>, refreshed: &[(&Status, Digests)]) -> Result<()> {
        if refreshed.is_empty() {
            return Ok(());
        }
        let Scope { book, source, reference_type } = scope;
        let column =
            |of: fn(&Digests) -> Option<i64>| refreshed.iter().map(|(_, digests)| of(digests)).collect::<Vec<_>>();
        let ids: Vec<&str> = refreshed.iter().map(|(status, _)| status.reference_id.as_str()).collect();
        let synchronisations: Vec<i64> = refreshed.iter().map(|(status, _)| status.synchronisation).collect();
        let (rows, rules) = (column(|digests| digests.row), column(|digests| digests.rule));
        let fingerprints = column(|digests| digests.fingerprint);
        let parameters: crate::database::Parameters<'_> =
            &[&book, &source, &reference_type, &ids, &synchronisations, &rows, &rules, &fingerprints];
        self.ledger.execute(sql::REFRESH_DIGESTS, parameters).await.doing("noting what bills were judged from")?;
        Ok(())
    }

    /// Takes the status of bills from the journal again, where it says otherwise.
    pub(super) async fn restore_status(&self, reference_type: &str, ids: &[&str]) -> Result<()> {
        let scope = Scope { book: &self.book, source: &self.source_name, reference_type };
        self.ledger.begin().await.doing("beginning on the ledger")?;
        ledger::lock_bills(&self.ledger, scope, ids).await?;
        let parameters: crate::database::Parameters<'_> = &[&scope.book, &scope.source, &reference_type, &ids];
        self.ledger.execute(sql::RESTORE_STATUS, parameters).await.doing("taking the status from the journal")?;
        self.ledger.commit().await.doing("committing on the ledger")
    }
}
