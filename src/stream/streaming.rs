//! A stream under way: transactions are batched, enqueued, and confirmed to the server.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{Notify, watch};

use super::assembler::{Assembler, Taken};
use super::enqueue::Enqueuer;
use super::pgoutput::Lsn;
use super::transaction::{Definition, Transaction};
use super::transport::{Changes, Received};
use super::{Ended, WORD, ask};
use crate::error::{Doing, Error, Result};

/// So many keys are enqueued at once, at most; a transaction that has more is enqueued alone.
const BATCH_KEYS: usize = 10_000;

/// A transaction with more keys keeps them outside of memory.
const SPILL_KEYS: usize = 25_000;

/// Where nothing is to be enqueued, the place is kept so often, or when so much WAL could go.
const PASS_INTERVAL: Duration = Duration::from_secs(10);
const PASS_BYTES: Lsn = 1 << 20;

/// When nothing came for so long, the server is asked for a sign, and when none comes, given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A stream under way.
pub(super) struct Streaming<C> {
    changes: C,
    enqueuer: Enqueuer,
    assembler: Assembler,
    wake: Arc<Notify>,
    /// Complete transactions that are not enqueued yet, and how many keys they hold.
    batch: Vec<Transaction>,
    keys: usize,
    /// Everything up to there is in the batch, or needs no event.
    passed: Lsn,
    /// Somebody waits for the place to be kept behind the transaction under way.
    word_came: bool,
    /// Somebody waits for the place to be kept.
    is_asked: bool,
    passed_at: Instant,
}

impl<C: Changes> Streaming<C> {
    pub(super) async fn new(changes: C, enqueuer: Enqueuer, wake: Arc<Notify>) -> Result<Streaming<C>> {
        let queue = "SELECT 'daybook.sync_queue'::regclass::oid";
        let queue: u32 = enqueuer.session.query_one(queue, &[]).await.doing("looking for the queue")?.get(0);
        let assembler = Assembler::new(queue, enqueuer.definitions().await?);
        let passed = enqueuer.durable;
        Ok(Streaming {
            changes,
            enqueuer,
            assembler,
            wake,
            batch: Vec::new(),
            keys: 0,
            passed,
            word_came: false,
            is_asked: false,
            passed_at: Instant::now(),
        })
    }

    pub(super) async fn run(mut self, stop: &watch::Receiver<bool>) -> Result<Ended> {
        let (mut heard_at, mut is_pinged) = (Instant::now(), false);
        while !*stop.borrow() {
            // Whatever has come already; the budget of the runtime's tasks would make batches small.
            let received = match tokio::task::unconstrained(self.changes.next()).now_or_never() {
                Some(received) => received?,
                None if !self.batch.is_empty() => {
                    self.flush().await?;
                    continue;
                }
                None if self.should_pass() => {
                    self.pass().await?;
                    continue;
                }
                None => match tokio::time::timeout(Duration::from_secs(1), self.changes.next()).await {
                    Ok(received) => received?,
                    Err(_) => {
                        if heard_at.elapsed() >= SILENCE_MAX && !is_pinged {
                            ask(&self.enqueuer.session).await?;
                            is_pinged = true;
                        }
                        if heard_at.elapsed() >= SILENCE_MAX + ANSWER_MAX {
                            return Err(Error::Unreachable("the walsender gives no sign of life".into()));
                        }
                        continue;
                    }
                },
            };
            (heard_at, is_pinged) = (Instant::now(), false);
            self.take(received).await?;
        }
        Ok(Ended::Stopped)
    }

    async fn take(&mut self, received: Received) -> Result<()> {
        let malformed = |error| Error::Unexpected(format!("the walsender sent what cannot be read: {error}"));
        match &received {
            Received::Nothing { until } if self.assembler.current.is_none() => self.passed = self.passed.max(*until),
            Received::Word { prefix } => self.word_came |= prefix == WORD,
            _ => {}
        }
        let Some(message) = received.message().map_err(malformed)? else { return Ok(()) };
        let mut taken = self.assembler.take(&message);
        if taken == Taken::Unknown {
            let definitions = self.enqueuer.definitions().await?;
            self.assembler.redefine(definitions);
            taken = self.assembler.take(&message);
        }
        match taken {
            Taken::Nothing => {}
            Taken::Unknown => self.assembler.ignore_unknown(&message),
            Taken::Committed(transaction) => return self.committed(transaction).await,
        }
        if self.assembler.current.as_ref().is_some_and(|current| current.size() >= SPILL_KEYS) {
            self.flush().await?;
            if let Some(current) = &mut self.assembler.current {
                self.enqueuer.spill(current).await?;
            }
        }
        Ok(())
    }

    async fn committed(&mut self, transaction: Transaction) -> Result<()> {
        self.is_asked |= std::mem::take(&mut self.word_came);
        if transaction.wakes {
            self.wake.notify_waiters();
        }
        if self.enqueuer.has_spilled() {
            let end_lsn = transaction.end_lsn;
            let definitions = self.enqueuer.enqueue_spilled(transaction, self.assembler.definitions()).await?;
            self.redefine(definitions);
            self.passed = self.passed.max(end_lsn);
            self.confirm();
            return Ok(());
        }
        self.passed = self.passed.max(transaction.end_lsn);
        if !transaction.changed.is_empty() {
            self.keys += transaction.size();
            self.batch.push(transaction);
        }
        if self.keys >= BATCH_KEYS || self.batch.len() >= BATCH_KEYS { self.flush().await } else { Ok(()) }
    }

    /// Enqueues the batch.
    async fn flush(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let mut batch = std::mem::take(&mut self.batch);
        self.keys = 0;
        let definitions = self.enqueuer.enqueue(&mut batch, self.passed, self.assembler.definitions()).await?;
        self.redefine(definitions);
        self.confirm();
        Ok(())
    }

    fn redefine(&mut self, definitions: HashMap<u32, Definition>) {
        if definitions != *self.assembler.definitions() {
            self.assembler.redefine(definitions);
        }
    }

    /// What is durable need not be sent again; and there may be work.
    fn confirm(&mut self) {
        self.changes.confirm(self.enqueuer.durable);
        self.passed_at = Instant::now();
        self.is_asked = false;
        self.wake.notify_waiters();
    }

    fn should_pass(&self) -> bool {
        let ahead = self.passed.saturating_sub(self.enqueuer.durable);
        ahead > 0 && (self.is_asked || ahead >= PASS_BYTES || self.passed_at.elapsed() >= PASS_INTERVAL)
    }

    async fn pass(&mut self) -> Result<()> {
        self.enqueuer.pass(self.passed).await?;
        self.changes.confirm(self.enqueuer.durable);
        self.passed_at = Instant::now();
        self.is_asked = false;
        Ok(())
    }
}
