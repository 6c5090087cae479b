//! Consuming: workers that go from table to table, and when they stop.
//!
//! There is no leader, and any number of processes may run: whoever holds a bill's lock reads its row afterwards.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::attempts::{Step, raise_table_alert, step};
use crate::connecting::{PAUSE_MAX, connect_both, connect_worker, pauses, raise_alert};
use crate::error::{Doing, Error, Result};
use crate::housekeeping::Housekeeper;
use crate::options::Databases;
use crate::queue::Claim;
use crate::settings::Settings;
use crate::sql;
use crate::stream::pgoutput::Lsn;
use crate::stream::{self, Stream};
use crate::synchronise::Worker;

/// How often settings are read again, and a sign of life is given.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(2);

/// Shortest sleep of a worker that found nothing; it doubles up to `poll_interval_ms_max`.
const POLL_INTERVAL_MIN: Duration = Duration::from_millis(2);

/// A table that waits for longer than this is alerted, whatever it waits for.
const HELD_UNALERTED_MAX: Duration = Duration::from_secs(60);

/// How draining ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Events that were finished or put back.
    pub events: u64,
    /// Bills that are parked now.
    pub parked: i64,
    /// Events that were still there when the time was up; 0 when everything was done.
    pub unfinished: i64,
}

/// What the workers of one process share.
struct Shared {
    options: Databases,
    stop: watch::Receiver<bool>,
    events: Arc<AtomicU64>,
    /// Rung by the stream of changes when there is work; where there is no stream, workers look by themselves.
    wake: Arc<Notify>,
}

impl Clone for Shared {
    fn clone(&self) -> Self {
        let Shared { options, stop, events, wake } = self;
        Shared { options: options.clone(), stop: stop.clone(), events: events.clone(), wake: wake.clone() }
    }
}

/// Consumes until `shutdown`, then finishes the batches under way. Whatever is away or wrong meanwhile, it stays, says what it
/// waits for, and goes on by itself: fails only where waiting cannot help, for what it was told cannot be.
pub async fn run(options: Databases, shutdown: impl Future<Output = ()>) -> Result<()> {
    tokio::pin!(shutdown);
    let mut pauses = pauses();
    loop {
        let started = Instant::now();
        let error = match run_once(options.clone(), shutdown.as_mut()).await {
            Ok(()) => return Ok(()),
            Err(error @ Error::Usage(_)) => return Err(error),
            Err(error) => error,
        };
        tracing::warn!("waiting: {error}");
        if started.elapsed() > PAUSE_MAX {
            pauses = crate::connecting::pauses();
        }
        tokio::select! {
            () = shutdown.as_mut() => return Ok(()),
            () = tokio::time::sleep(pauses.next().unwrap_or(PAUSE_MAX)) => {}
        }
    }
}

/// Connects and consumes, until `shutdown` or until nothing can go on.
async fn run_once(options: Databases, mut shutdown: Pin<&mut impl Future<Output = ()>>) -> Result<()> {
    let workers = options.workers;
    let (mut crew, mut housekeeper) = tokio::select! {
        () = shutdown.as_mut() => return Ok(()),
        started = Crew::start(options) => started?,
    };
    housekeeper.reconcile_by_schedule();
    tracing::info!(workers, "posting, until a signal");
    loop {
        if let Err(error) = crew.stream_if_wanted(&housekeeper).await {
            tracing::warn!("{error}"); // housekeeping connects again
        }
        tokio::select! {
            () = shutdown.as_mut() => break,
            () = tokio::time::sleep(HOUSEKEEPING_INTERVAL) => {
                crew.replace_the_fallen(&housekeeper).await;
                housekeeper.keep_house(crew.finished()).await?;
            }
        }
    }
    let finished = crew.finish().await;
    if let Err(error) = housekeeper.keep_house(finished).await {
        tracing::warn!("housekeeping: {error}"); // it ends all the same
    }
    housekeeper.leave().await;
    tracing::info!("ended, after the batches under way");
    Ok(())
}

/// Consumes until the queue is empty, retries that fall due included, or the time is up.
pub async fn drain(options: Databases, timeout: Duration) -> Result<Drained> {
    let started = Instant::now();
    let (mut crew, mut housekeeper) = Crew::start(options).await?;
    let mut next_housekeeping = Instant::now();
    let mut pauses = pauses();
    if housekeeper.posting_is_paused().await? {
        tracing::warn!("posting is paused, so that nothing will be finished: `daybook resume`");
    }
    // What is in the WAL by now is to be posted, too.
    let position = match crew.stream_if_wanted(&housekeeper).await? {
        true => Some(stream::ask(&housekeeper.session).await?),
        false => None,
    };
    let ended = loop {
        if Instant::now() >= next_housekeeping {
            crew.replace_the_fallen(&housekeeper).await;
            housekeeper.keep_house(crew.finished()).await?;
            next_housekeeping = Instant::now() + HOUSEKEEPING_INTERVAL;
        }
        match is_done(&housekeeper, position).await {
            Ok(true) => break Ok(()),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!("{error}");
                tokio::time::sleep(pauses.next().unwrap_or(PAUSE_MAX)).await;
                housekeeper.reconnect().await?;
            }
        }
        if started.elapsed() >= timeout {
            break Err(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let finished = crew.finish().await;
    housekeeper.keep_house(finished).await?;
    housekeeper.leave().await;
    let count = "SELECT (SELECT count(*) FROM daybook.sync_dead_letter WHERE resolved_at IS NULL),
                        (SELECT count(*) FROM daybook.sync_queue JOIN daybook.sync_source USING (reference_type))";
    let counts = housekeeper.session.query_one(count, &[]).await.doing("counting what is left")?;
    // Where the stream did not get so far, there may be more than the queue knows.
    let unfinished = if ended.is_ok() { 0 } else { counts.get::<_, i64>(1).max(1) };
    Ok(Drained { events: finished, parked: counts.get(0), unfinished })
}

/// Whether the stream, where there is one, has passed the position, and the queue is empty then.
async fn is_done(housekeeper: &Housekeeper, position: Option<Lsn>) -> Result<bool> {
    if let Some(position) = position
        && !stream::has_passed(&housekeeper.session, position).await?
    {
        return Ok(false);
    }
    housekeeper.queue_is_empty().await
}

/// The workers of this process.
struct Crew {
    /// Dropping the crew ends them at once, wherever they are; a crash at any point repeats harmlessly.
    workers: JoinSet<()>,
    stream: JoinSet<()>,
    shared: Shared,
    stop: watch::Sender<bool>,
    events: Arc<AtomicU64>,
}

impl Crew {
    async fn start(options: Databases) -> Result<(Crew, Housekeeper)> {
        // Both sides once, and their meeting, so that a wrong URL is told at once and not only in the log.
        let housekeeper = Housekeeper::new(options.clone(), connect_both(&options).await?);
        let (stop, stopped) = watch::channel(false);
        let events = Arc::new(AtomicU64::new(0));
        let shared = Shared { options, stop: stopped, events: events.clone(), wake: Arc::default() };
        let mut workers = JoinSet::new();
        for index in 0..shared.options.workers.max(1) {
            workers.spawn(work(shared.clone(), index));
        }
        Ok((Crew { workers, stream: JoinSet::new(), shared, stop, events }, housekeeper))
    }

    /// A worker that ended by itself has met a bug of ours: another takes its place, and somebody is told.
    async fn replace_the_fallen(&mut self, housekeeper: &Housekeeper) {
        while let Some(ended) = self.workers.try_join_next() {
            if let Err(error) = ended {
                tracing::error!("a worker ended by itself, and is replaced: {error}");
                let message = "a worker ended by itself and was replaced; please report it with the log";
                raise_alert(&housekeeper.session, "WORKER_FAILED", "daybook", message).await;
                self.workers.spawn(work(self.shared.clone(), 0));
            }
        }
    }

    /// Streams changes where a table is captured from the WAL. Returns whether one is.
    async fn stream_if_wanted(&mut self, housekeeper: &Housekeeper) -> Result<bool> {
        while let Some(ended) = self.stream.try_join_next() {
            if let Err(error) = ended {
                tracing::error!("the stream of changes ended by itself, and is begun anew: {error}");
                let message = "the stream of changes met a bug of ours and is begun anew again and again; please report it with the log";
                raise_alert(&housekeeper.session, stream::STREAM_STOPPED, "source", message).await;
            }
        }
        let is_wanted = housekeeper.stream_is_wanted().await?;
        if is_wanted && self.stream.is_empty() {
            let Shared { options, stop, wake, .. } = self.shared.clone();
            self.stream.spawn(Stream::new(options, stop, wake).run());
        }
        Ok(is_wanted)
    }

    /// How many events were finished so far.
    fn finished(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Lets each worker finish its batch; returns how many events were finished in all.
    async fn finish(mut self) -> u64 {
        let _ = self.stop.send(true);
        while self.stream.join_next().await.is_some() {}
        while let Some(ended) = self.workers.join_next().await {
            if let Err(error) = ended {
                tracing::error!("a worker ended by itself: {error}");
            }
        }
        self.events.load(Ordering::Relaxed)
    }
}

/// A worker, for life: connects, consumes, and connects again when a connection is lost.
async fn work(mut shared: Shared, index: usize) {
    let mut delays = pauses();
    while !*shared.stop.borrow() {
        match connect_worker(&shared.options).await {
            Ok((worker, settings)) => {
                let connected = Instant::now();
                if let Err(error) = consume(&mut shared, worker, settings, index).await {
                    tracing::warn!(worker = index, "connecting again after: {error}");
                }
                if connected.elapsed() > PAUSE_MAX {
                    delays = pauses();
                }
            }
            Err(error) => tracing::warn!(worker = index, "waiting: {error}"),
        }
        let pause = delays.next().unwrap_or(PAUSE_MAX);
        let _ = tokio::time::timeout(pause, shared.stop.wait_for(|stop| *stop)).await;
    }
}

/// Goes from table to table until told to stop. Returns an error where the connections are to be made anew.
async fn consume(shared: &mut Shared, mut worker: Worker, mut settings: Settings, index: usize) -> Result<()> {
    let mut held: HashMap<String, Instant> = HashMap::new(); // until when
    let mut held_since: HashMap<String, (Instant, Instant)> = HashMap::new(); // since when, and when last
    let mut settings_read = Instant::now();
    let mut sleep = POLL_INTERVAL_MIN;
    while !*shared.stop.borrow() {
        if settings_read.elapsed() >= HOUSEKEEPING_INTERVAL {
            settings = Settings::load(&worker.source).await?;
            worker.heed(&settings).await?;
            settings_read = Instant::now();
        }
        let due = worker.source.query(sql::DUE_REFERENCE_TYPES, &[]).await.doing("looking for due events")?;
        let mut due: Vec<String> = due.iter().map(|row| row.get(0)).collect();
        held.retain(|_, until| *until > Instant::now());
        // Whoever was not held again since has been served by another worker, or had nothing to do.
        held_since.retain(|_, (_, last)| last.elapsed() < HELD_UNALERTED_MAX);
        due.retain(|reference_type| !held.contains_key(reference_type));
        let tables = due.len();
        if tables > 0 {
            due.rotate_left(index % tables); // the workers begin at different tables
        }
        let mut events = 0;
        for reference_type in due {
            if *shared.stop.borrow() {
                break;
            }
            let claim = Claim::Due { events_max: settings.queue_batch_size };
            match step(&shared.stop, &mut worker, &settings, &reference_type, claim).await? {
                Step::Done { events: done } => {
                    held_since.remove(&reference_type);
                    events += done;
                }
                Step::Hold(why) => {
                    let now = Instant::now();
                    let (since, last) = held_since.entry(reference_type.clone()).or_insert((now, now));
                    *last = now;
                    if since.elapsed() >= HELD_UNALERTED_MAX {
                        raise_table_alert(&worker, &reference_type, &why).await;
                    }
                    let pause = Duration::from_secs_f64(settings.table_retry_seconds);
                    held.insert(reference_type, Instant::now() + pause);
                }
            }
        }
        shared.events.fetch_add(events as u64, Ordering::Relaxed);
        if events > 0 {
            sleep = POLL_INTERVAL_MIN;
        } else {
            let wake = shared.wake.clone();
            sleep = tokio::select! {
                // It may ring before what it rings for is seen.
                () = wake.notified() => POLL_INTERVAL_MIN,
                _ = shared.stop.wait_for(|stop| *stop) => sleep,
                () = tokio::time::sleep(sleep) => (sleep * 2).min(Duration::from_millis(settings.poll_interval_ms_max)),
            };
        }
    }
    Ok(())
}
