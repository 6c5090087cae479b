//! Writing what the stream found: events, and with them, in the same transaction, how far it is.

use std::collections::HashMap;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::pgoutput::Lsn;
use super::transaction::{
    Changed, Definition, Enqueued, Mode, Needed, NewEvent, Operation, Transaction, events, forget_keys, is_read_alike,
};
use crate::crash_point::crash_point;
use crate::database::{Parameters, Session};
use crate::error::{Doing, Error, Result};
use crate::sql::stream as sql;

/// How long somebody who waits for a standby may keep a committed transaction from being seen, before the stream is begun anew.
const VISIBLE_MAX: Duration = Duration::from_secs(600);

/// So long it may take to enqueue a transaction of many millions of rows.
const LARGE_MAX: Duration = Duration::from_secs(3_600);

/// Planned for many rows, unlike what a consumer asks.
const FOR_MANY: &str = "SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; \
    SET LOCAL enable_mergejoin = on; SET LOCAL enable_nestloop = off; SET LOCAL plan_cache_mode = auto";

/// The connection on which events are enqueued, with the slot's position.
pub struct Enqueuer {
    pub session: Session,
    /// Up to where everything is durably enqueued.
    pub durable: Lsn,
    /// The next id of a transaction, lately: ids in the stream lack their epoch.
    next_id: i64,
    statement_timeout: Duration,
    /// Chunks of the transaction under way that were spilled.
    chunks: i32,
}

impl Enqueuer {
    pub async fn new(session: Session, durable: Lsn, statement_timeout: Duration) -> Result<Enqueuer> {
        // What is confirmed must not be lost in a crash.
        session.batch_execute("SET synchronous_commit = on").await.doing("setting up the stream")?;
        let none: [&str; 0] = [];
        let row = session.query_one(sql::VISIBLE, &[&none.as_slice()]).await.doing("setting up the stream")?;
        Ok(Enqueuer { session, durable, next_id: number(row.get(1))?, statement_timeout, chunks: 0 })
    }

    pub async fn definitions(&self) -> Result<HashMap<u32, Definition>> {
        let rows = self.session.query(sql::DEFINITIONS, &[]).await.doing("reading the attached tables")?;
        let definition = |row: &tokio_postgres::Row| Definition {
            relation: row.get("relation"),
            reference_type: row.get("reference_type"),
            key_columns: row.get("key_columns"),
            key_type_ids: row.get("key_type_ids"),
            key_types: row.get("key_types"),
            mode: match row.get("capture_mode") {
                "wal" => Mode::Wal,
                "both" => Mode::Both,
                _ => Mode::Trigger,
            },
            mode_since: row.get::<_, Option<i64>>("mode_since").unwrap_or_default() as Lsn,
            is_suspended: row.get("is_suspended"),
        };
        Ok(rows.iter().map(definition).map(|definition| (definition.relation, definition)).collect())
    }

    /// Enqueues what transactions call for, by the definitions of now, which are returned, and keeps the place behind them. `read_by`: the
    /// definitions by which they were read.
    pub async fn enqueue(
        &mut self,
        transactions: &mut [Transaction],
        end_lsn: Lsn,
        read_by: &HashMap<u32, Definition>,
    ) -> Result<HashMap<u32, Definition>> {
        let xids: Vec<String> =
            transactions.iter().map(|transaction| self.full_id(transaction.xid).to_string()).collect();
        self.wait_until_visible(&xids).await?;
        self.session.begin().await.doing("beginning to enqueue")?;
        let definitions = self.definitions().await?;
        let (mut types, mut ids, mut operations): (Vec<&str>, Vec<Option<&str>>, Vec<&str>) = Default::default();
        let (mut causes, mut times): (Vec<&str>, Vec<i64>) = Default::default();
        for transaction in transactions.iter_mut() {
            forget_keys(transaction, |id| is_read_alike(read_by.get(id), definitions.get(id)));
        }
        for (transaction, xid) in transactions.iter().zip(&xids) {
            for NewEvent { reference_type, reference_id, operation } in events(transaction, &definitions) {
                types.push(reference_type);
                ids.push(reference_id);
                operations.push(operation);
                causes.push(xid);
                times.push(transaction.committed_at);
            }
        }
        if !types.is_empty() {
            let parameters: Parameters<'_> = &[&types, &ids, &operations, &causes, &times];
            self.session.execute(sql::ENQUEUE, parameters).await.doing("enqueueing changes")?;
        }
        crash_point("before_stream_commit");
        self.commit(end_lsn).await?;
        Ok(definitions)
    }

    /// Notes that there is nothing to enqueue up to a position.
    pub async fn pass(&mut self, end_lsn: Lsn) -> Result<()> {
        self.session.begin().await.doing("beginning to enqueue")?;
        self.commit(end_lsn).await
    }

    async fn commit(&mut self, end_lsn: Lsn) -> Result<()> {
        let position = end_lsn as i64;
        let moved = self.session.execute(sql::MOVE_PROGRESS, &[&position]).await.doing("keeping the stream's place")?;
        if moved == 0 {
            return Err(Error::DefinitionChanged("the stream of changes".into())); // no table wants it any more
        }
        self.session.commit().await.doing("committing what the stream found")?;
        self.durable = end_lsn;
        crash_point("after_stream_commit");
        Ok(())
    }

    /// An id as the server counts them, with its epoch: the one next to those of now.
    fn full_id(&self, xid: u32) -> i64 {
        self.next_id + i64::from(xid.wrapping_sub(self.next_id as u32) as i32)
    }

    /// Waits until what was sent is seen by others: a consumer that reads the row earlier finds the old one.
    async fn wait_until_visible(&mut self, xids: &[String]) -> Result<()> {
        let began = std::time::Instant::now();
        let mut pause = Duration::from_micros(200);
        loop {
            let row = self.session.query_one(sql::VISIBLE, &[&xids]).await.doing("looking what is committed")?;
            self.next_id = number(row.get(1))?;
            if row.get(0) {
                return Ok(());
            }
            if began.elapsed() > VISIBLE_MAX {
                return Err(Error::Unreachable(
                    "a transaction that is in the WAL stays invisible: does it wait for a synchronous standby?".into(),
                ));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// Moves the keys of a transaction that is under way out of memory.
    pub async fn spill(&mut self, transaction: &mut Transaction) -> Result<()> {
        if self.chunks == 0 {
            self.session.batch_execute(sql::MAKE_SPILL).await.map_err(|error| match error.code() {
                Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Error::Unreachable(format!(
                    "a transaction has more rows than memory is to hold, and their keys can wait nowhere: {}. Give the right: \
                     GRANT TEMPORARY ON DATABASE ... TO daybook_consumer",
                    crate::error::explain(&error)
                )),
                _ => Error::Database { doing: "making room for a large transaction", source: error },
            })?;
            self.session.batch_execute("TRUNCATE pg_temp.daybook_spill").await.doing("making room")?;
        }
        self.chunks += 1;
        let (mut relations, mut keys): (Vec<Option<u32>>, Vec<String>) = Default::default();
        let (mut operations, mut types): (Vec<Option<&str>>, Vec<Option<&str>>) = Default::default();
        for (relation, Changed { keys: changed, .. }) in &mut transaction.changed {
            for (key, operation) in std::mem::take(changed) {
                relations.push(Some(*relation));
                keys.push(key);
                operations.push(Some(Operation::as_str(operation)));
                types.push(None);
            }
        }
        for (reference_type, Enqueued { keys: enqueued, .. }) in &mut transaction.enqueued {
            for key in std::mem::take(enqueued) {
                relations.push(None);
                keys.push(key);
                operations.push(None);
                types.push(Some(reference_type));
            }
        }
        let parameters: Parameters<'_> = &[&self.chunks, &relations, &keys, &operations, &types];
        self.session.execute(sql::SPILL, parameters).await.doing("spilling a large transaction")?;
        Ok(())
    }

    pub fn has_spilled(&self) -> bool {
        self.chunks > 0
    }

    /// [`Enqueuer::enqueue`] for a transaction that was spilled.
    pub async fn enqueue_spilled(
        &mut self,
        mut transaction: Transaction,
        read_by: &HashMap<u32, Definition>,
    ) -> Result<HashMap<u32, Definition>> {
        self.spill(&mut transaction).await?;
        let xid = self.full_id(transaction.xid).to_string();
        self.wait_until_visible(std::slice::from_ref(&xid)).await?;
        self.session.limit_statements(LARGE_MAX).await.doing("beginning to enqueue")?;
        self.session.begin().await.doing("beginning to enqueue")?;
        self.session.batch_execute(FOR_MANY).await.doing("beginning to enqueue")?;
        let definitions = self.definitions().await?;
        forget_keys(&mut transaction, |id| is_read_alike(read_by.get(id), definitions.get(id)));
        let (mut relations, mut types): (Vec<u32>, Vec<&str>) = Default::default();
        let (mut leaves_out, mut are_looks): (Vec<bool>, Vec<bool>) = Default::default();
        for (relation, changed) in &transaction.changed {
            let Some(definition) = definitions.get(relation) else { continue };
            let needed = definition.needed(transaction.commit_lsn);
            let enqueued = transaction.enqueued.get(&definition.reference_type);
            let table_is_told = needed == Needed::Bypassed && enqueued.is_some_and(|enqueued| enqueued.without_key);
            if needed == Needed::Nothing || table_is_told || changed.is_misread {
                continue; // or the table is looked at as a whole
            }
            relations.push(*relation);
            types.push(&definition.reference_type);
            leaves_out.push(needed == Needed::Bypassed);
            are_looks.push(needed == Needed::AllAsLooks);
        }
        let parameters: Parameters<'_> =
            &[&relations, &types, &leaves_out, &are_looks, &xid, &transaction.committed_at];
        self.session.execute(sql::ENQUEUE_SPILLED, parameters).await.doing("enqueueing a large transaction")?;
        // What is left in it concerns whole tables.
        let of_tables = events(&transaction, &definitions);
        let types: Vec<&str> = of_tables.iter().map(|event| event.reference_type).collect();
        let ids: Vec<Option<&str>> = vec![None; types.len()];
        let operations: Vec<&str> = of_tables.iter().map(|event| event.operation).collect();
        let (causes, times) = (vec![xid.as_str(); types.len()], vec![transaction.committed_at; types.len()]);
        let parameters: Parameters<'_> = &[&types, &ids, &operations, &causes, &times];
        self.session.execute(sql::ENQUEUE, parameters).await.doing("enqueueing changes")?;
        self.commit(transaction.end_lsn).await?;
        self.session.limit_statements(self.statement_timeout).await.doing("making room")?;
        self.session.batch_execute("TRUNCATE pg_temp.daybook_spill").await.doing("making room")?;
        self.chunks = 0;
        Ok(definitions)
    }
}

fn number(text: &str) -> Result<i64> {
    text.parse().map_err(|_| Error::Unexpected(format!("{text} is no transaction's id")))
}
