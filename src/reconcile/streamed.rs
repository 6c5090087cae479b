//! Tables that are captured from the WAL: a change is seen in its row a moment before its event is in the queue.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::recheck::Looked;
use super::{Reconciliation, Table};
use crate::database::Parameters;
use crate::error::{Doing, Result};
use crate::sql::reconcile as sql;
use crate::stream;

/// How long the stream of changes is waited for.
const STREAM_DELAY_MAX: Duration = Duration::from_secs(10);
const STREAM_IS_BEHIND: &str =
    "the stream of changes from the WAL is behind, or does not run: look again when it is there";

impl Reconciliation {
    /// Looks at bills under their locks. One of a table that is captured from the WAL differs only if the stream, having passed the look,
    /// brought no event of it.
    pub(super) async fn recheck(&mut self, table: &mut Table, ids: &[String]) -> Result<Looked> {
        let began = self.now().await?;
        let mut looked = self.worker.recheck(&table.reference_type, ids).await?;
        let differ: Vec<String> =
            looked.differ.iter().filter_map(|(finding, _)| finding.reference_id.clone()).collect();
        let on_their_way = self.on_their_way(table, began, &differ).await?;
        looked.differ.retain(|(finding, _)| finding.reference_id.as_ref().is_none_or(|id| !on_their_way.contains(id)));
        looked.pending.extend(on_their_way);
        Ok(looked)
    }

    pub(super) async fn now(&self) -> Result<DateTime<Utc>> {
        let now = "SELECT clock_timestamp()";
        Ok(self.worker.source.query_one(now, &[]).await.doing("asking for the time")?.get(0))
    }

    /// Waits until everything of a table that is committed now is in the queue, or was; returns whether it is. Where the stream does not get
    /// there, the table is not proven, and nobody waits again.
    pub(super) async fn let_stream_catch_up(&mut self, table: &mut Table) -> Result<bool> {
        if !table.is_streamed {
            return Ok(true);
        }
        if !self.stream_is_behind {
            self.stream_is_behind = !stream::catch_up(&self.worker.source, STREAM_DELAY_MAX).await?;
        }
        if self.stream_is_behind {
            table.not_proven = Some(STREAM_IS_BEHIND.into());
        }
        Ok(!self.stream_is_behind)
    }

    /// Those of the bills that differed in a look since a moment of which the stream has brought an event after all. Where it does not get so
    /// far, nobody can say.
    pub(super) async fn on_their_way(
        &mut self,
        table: &mut Table,
        since: DateTime<Utc>,
        ids: &[String],
    ) -> Result<HashSet<String>> {
        if !table.is_streamed || ids.is_empty() {
            return Ok(HashSet::new());
        }
        if !self.let_stream_catch_up(table).await? {
            return Ok(ids.iter().cloned().collect());
        }
        let parameters: Parameters<'_> = &[&table.reference_type, &ids, &since];
        let rows = self.worker.source.query(sql::ON_THEIR_WAY, parameters).await;
        Ok(rows.doing("looking what the stream has brought")?.iter().map(|row| row.get(0)).collect())
    }
}
