//! Reconciling: the proof that the ledger says what the bills say. It takes no hint from capture or queue, works from the two states
//! alone, and reports nothing that is only on its way.
//!
//! ```text
//! digests by buckets ──┐
//! every row (nightly) ─┼─▶ candidates ─▶ each looked at under its lock, row and queue in one snapshot ─▶ findings ─▶ keys enqueued
//! status, open findings┘                                                                                  ▲
//! capture · totals in plain SQL (nightly) · the journal by itself (nightly) ──────────────────────────────┘
//! ```
//!
//! It never posts: a repair is an event like any other.

mod bills;
mod buckets;
mod capture;
mod clinic;
mod command;
pub mod findings;
mod journal;
mod ledger_scan;
mod plain_sql;
mod reading;
mod recheck;
mod report;
pub(crate) mod schedule;
mod status;
mod streamed;
mod totals;
pub mod verdict;
mod waiting;

pub use command::{Arguments, execute};
pub use report::{Report, Table};

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use self::clinic::ClinicRules;
use self::findings::{Finding, FoundBy, Kind, keep, resolve};
use self::ledger_scan::LedgerSums;
use self::plain_sql::Texts;
use self::recheck::{BILLS_MAX, Looked};
use crate::connecting::{Both, connect_both};
use crate::database::{Parameters, Session, Side, connect_as_consumer};
use crate::error::{Doing, Error, Result};
use crate::ledger::{self, Scope};
use crate::options::Databases;
use crate::settings::Settings;
use crate::sql::reconcile as sql;
use crate::synchronise::Worker;

/// How long a statement over all bills of a table may take in the ledger.
const SCAN_TIMEOUT: Duration = Duration::from_secs(3_600);

/// How often a run says that it is alive.
const BEAT_INTERVAL: Duration = Duration::from_secs(5);

/// So many findings of single bills a table are kept a run, so that a lost table does not fill another.
const FINDINGS_MAX: u64 = 10_000;

/// So many findings a rule of the clinic's and table are kept, the oldest bills first: they are for a person.
const WARNINGS_MAX: usize = 1_000;

/// So many bills are remembered, so that none is looked at twice in a run; beyond that some may be.
const LOOKED_AT_MAX: usize = 100_000;

/// The statements over all bills are planned for that, unlike those of a consumer: never by nested loops, which statistics that lag behind
/// make look cheap; with room for what half a million bills are summed up by.
const SCANS: &str = "SET enable_nestloop = off; SET enable_seqscan = on; SET enable_bitmapscan = on; SET enable_hashjoin = on; SET enable_mergejoin = on; \
    SET enable_material = on; SET plan_cache_mode = auto; SET work_mem = '64MB'";

/// What a run is to do.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Each row through the posting function, totals in plain SQL, and the clinic's rules, besides.
    pub full: bool,
    /// The journal by itself, besides.
    pub journal: bool,
    /// One table, by its reference type.
    pub reference_type: Option<String>,
    /// Only bills of this site; each row of the table is read for it.
    pub site: Option<String>,
    /// Only bills with an open finding, once more: whether they are repaired. Proves nothing else.
    pub only_repaired: bool,
    /// Enqueue what differs.
    pub repair: bool,
}

/// A run under way: both sides, and what it found so far.
pub(crate) struct Reconciliation {
    databases: Databases,
    options: Options,
    /// Looks at bills; it never posts here.
    worker: Worker,
    /// The ledger again, for statements over all bills.
    scans: Session,
    settings: Settings,
    /// Decimals of the book's currency.
    minor_unit: u32,
    /// What a full run asks besides; empty in others.
    clinic: ClinicRules,
    /// How plain SQL compares texts of the source.
    texts: Texts,
    run: i64,
    started_at: DateTime<Utc>,
    beaten: Instant,
    /// The stream of changes was waited for in vain.
    stream_is_behind: bool,
    /// Why the journal could not be totalled.
    not_totalled: Option<String>,
    findings: Vec<Finding>,
    repairs: i64,
}

/// Runs once, whatever else is under way: runs do not get in each other's way.
pub async fn reconcile(databases: &Databases, options: Options) -> Result<Report> {
    let report = run(databases, options, false).await?;
    report.ok_or_else(|| Error::Unexpected("a run by hand waited for one by schedule".into()))
}

/// Runs once. `None` where it is by schedule, and another one is under way.
async fn run(databases: &Databases, options: Options, is_scheduled: bool) -> Result<Option<Report>> {
    let Both { source, ledger, settings, .. } = connect_both(databases).await?;
    let scans = connect_as_consumer(Side::Ledger, &databases.ledger, SCAN_TIMEOUT).await?;
    scans.batch_execute(SCANS).await.doing("setting up the session")?;
    let worker = Worker::new(source, ledger, None, &settings);
    let book = ledger::lock_book(&worker.ledger, &worker.book).await?;
    let texts = worker.source.query_one(sql::TEXTS, &[]).await.doing("asking for the encoding")?;
    let process = crate::housekeeping::process_name();
    let scope = match (&options.reference_type, &options.site) {
        (None, None) if options.only_repaired => Some("open findings".to_string()),
        (None, None) => None,
        (table, site) => Some([table.as_deref(), site.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ")),
    };
    let begin: Parameters<'_> = &[&settings.source_name, &options.full, &is_scheduled, &scope, &process];
    let Some(row) = worker.source.query_opt(sql::BEGIN_RUN, begin).await.doing("beginning to reconcile")? else {
        return Ok(None);
    };
    let mut run = Reconciliation {
        databases: databases.clone(),
        options,
        worker,
        scans,
        settings,
        minor_unit: book.minor_unit,
        clinic: ClinicRules::default(),
        texts: Texts::of_database(texts.get("encoding"), texts.get("unicode_collation")),
        run: row.get(0),
        started_at: row.get(1),
        beaten: Instant::now(),
        stream_is_behind: false,
        not_totalled: None,
        findings: Vec::new(),
        repairs: 0,
    };
    let tables = run.look_everywhere().await;
    run.end(tables).await.map(Some)
}

impl Reconciliation {
    fn scope<'a>(&'a self, table: &'a Table) -> Scope<'a> {
        let Worker { book, source_name, .. } = &self.worker;
        Scope { book, source: source_name, reference_type: &table.reference_type }
    }

    async fn look_everywhere(&mut self) -> Result<Vec<Table>> {
        let rows = self.worker.source.query(sql::TABLES, &[&self.options.reference_type]).await;
        let rows = rows.doing("reading the attached tables")?;
        if let (Some(reference_type), true) = (&self.options.reference_type, rows.is_empty()) {
            return Err(Error::Usage(format!("no table is attached as {reference_type}: `daybook status` lists them")));
        }
        let mut tables: Vec<Table> = rows.iter().map(Table::of_row).collect();
        if self.options.full {
            let zone = ledger::lock_book(&self.worker.ledger, &self.worker.book).await?.time_zone;
            self.clinic = clinic::rules(&self.worker.source, &zone).await?;
        }
        if self.options.full
            && let Err(error) = self.total_the_journal(&mut tables).await
        {
            self.not_totalled = Some(self.go_on_after(error).await?.to_string());
        }
        for table in &mut tables {
            if table.not_proven.is_some() {
                continue;
            }
            let Err(error) = self.look_at_table(table).await else { continue };
            // One table that is locked or cannot be read keeps no other from its proof.
            let error = self.go_on_after(error).await?;
            self.worker.forget(&table.reference_type);
            table.not_proven = Some(error.to_string());
            table.has_unasked_rows = true;
        }
        if self.options.full
            && let Err(error) = self.look_for_warnings(&mut tables).await
        {
            let error = self.go_on_after(error).await?;
            for table in &mut tables {
                table.not_proven.get_or_insert_with(|| format!("the clinic's rules cannot be asked: {error}"));
            }
        }
        self.look_for_unattached(&mut tables).await?;
        if !self.options.only_repaired {
            self.look_at_capture(&tables).await?;
        }
        if self.options.journal {
            self.look_at_journal().await?;
        }
        Ok(tables)
    }

    /// Returns the error that keeps something from its proof, unless it ends the run. Where a connection is gone, this fails.
    async fn go_on_after(&mut self, error: Error) -> Result<Error> {
        if error.ends_all_work() || matches!(error, Error::Usage(_)) {
            return Err(error);
        }
        self.worker.rollback().await?;
        Ok(error)
    }

    /// Bills of which the ledger has entries, and which no table is attached as: nobody can say whether they are right.
    async fn look_for_unattached(&self, tables: &mut Vec<Table>) -> Result<()> {
        if self.options.reference_type.is_some() || self.options.only_repaired {
            return Ok(());
        }
        let parameters: Parameters<'_> = &[&self.worker.book, &self.worker.source_name];
        let known =
            self.worker.ledger.query(sql::KNOWN_TYPES, parameters).await.doing("reading what the journal knows")?;
        for reference_type in known.iter().map(|row| row.get::<_, String>(0)) {
            if !tables.iter().any(|table| table.reference_type == reference_type) {
                let why = "no table is attached as it, and the ledger has entries: attach its table again".to_string();
                tables.push(Table { reference_type, how: "not at all", not_proven: Some(why), ..Table::default() });
            }
        }
        Ok(())
    }

    /// Every bill of a table.
    async fn look_at_table(&mut self, table: &mut Table) -> Result<()> {
        // What is in the WAL by now is to be in the queue, which tells its age.
        self.let_stream_catch_up(table).await?;
        let parameters: Parameters<'_> = &[&table.reference_type, &self.settings.reconciliation_frequency_hours];
        let queue =
            self.worker.source.query_one(sql::QUEUE_OF_TABLE, parameters).await.doing("looking at the queue")?;
        table.oldest_event = queue.get("oldest");
        self.late(table, queue.get("late")).await?;
        if queue.get::<_, i64>("of_the_table") > 0 {
            table.not_proven = Some("all of it is being synchronised: look again when that is done".into());
        }
        let of_ours: i64 = queue.get("of_ours");
        if of_ours > 0 && table.not_proven.is_none() {
            table.not_proven = Some(format!(
                "{of_ours} events of a repair, a retry or a backfill wait, and nothing tells when their bills were changed: look again \
                 when they are posted"
            ));
        }
        self.worker.make_ready(&table.reference_type).await?;
        table.how = "digests";
        if self.options.only_repaired {
            table.not_proven = Some("only bills with a finding were looked at".into());
            let ledger = self.ledger_sums(table, 1).await?;
            self.look_at_status(table, &ledger).await?;
            return self.look_at_open_findings(table).await;
        }
        let ledger = match self.options.full {
            true => self.look_at_every_row(table).await?,
            false => self.look_at_bills(table, &[]).await?,
        };
        self.look_at_status(table, &ledger).await?;
        self.look_at_odd_bills(table, &ledger).await?;
        self.never_posted(table).await
    }

    /// Each row through the posting function, and totals in plain SQL. Returns what the ledger says besides.
    async fn look_at_every_row(&mut self, table: &mut Table) -> Result<LedgerSums> {
        let asked = self.rules_about_rows(table).await?;
        let (plain, versions) = (self.plain_rules(table), self.versions(table)?);
        let ledger = self.look_at_bills(table, &asked).await?;
        match (&plain, &self.not_totalled) {
            (_, Some(why)) => table.not_proven = Some(format!("the journal cannot be totalled: {why}")),
            (Err(why), None) => table.not_proven = Some(format!("its rule cannot be written as plain SQL: {why}")),
            (Ok(rules), None) => {
                let totals = self.source_totals(table, rules).await;
                match self.versions(table)? == versions {
                    true => self.compare_totals(table, rules, totals).await?,
                    false => table.not_proven = Some("its rule was replaced while it was looked at: look again".into()),
                }
            }
        }
        Ok(ledger)
    }

    /// The versions of a table's rule, by their digests.
    fn versions(&self, table: &Table) -> Result<Vec<i64>> {
        Ok(self.reading(table)?.rules.versions().iter().map(|rule| rule.digest()).collect())
    }

    /// Looks at candidates under their locks, keeps what differs, and has it synchronised.
    async fn look_at(&mut self, table: &mut Table, candidates: Vec<String>) -> Result<()> {
        let is_new = |id: &String| table.looked_at.len() >= LOOKED_AT_MAX || table.looked_at.insert(id.clone());
        let new: Vec<String> = candidates.into_iter().filter(is_new).collect();
        for ids in new.chunks(BILLS_MAX) {
            let Looked { pending, equal, excused, mut differ } = self.recheck(table, ids).await?;
            table.candidates += ids.len() as u64;
            table.pending += pending.iter().filter(|id| !table.left_out.contains(*id)).count() as u64;
            table.excused += excused.len() as u64;
            let settled: Vec<String> = equal.into_iter().chain(excused).collect();
            let parameters: Parameters<'_> = &[&table.reference_type, &settled];
            self.worker.source.execute(sql::RESOLVE_BILLS, parameters).await.doing("closing findings that are over")?;
            if !table.is_backfilled {
                differ.retain(|(finding, was_judged)| {
                    let is_from_before = finding.kind == Kind::Missing && !was_judged;
                    table.never_posted += u64::from(is_from_before);
                    !is_from_before
                });
            }
            if let Some(site) = &self.options.site {
                differ.retain(|(finding, _)| finding.site.as_ref().is_none_or(|of| of == site));
            }
            let bills: Vec<String> = differ.iter().filter_map(|(finding, _)| finding.reference_id.clone()).collect();
            table.findings += bills.len() as u64;
            let room = FINDINGS_MAX.saturating_sub(table.kept) as usize;
            let kept: Vec<Finding> = differ.into_iter().take(room).map(|(finding, _)| finding).collect();
            table.kept += kept.len() as u64;
            self.keep(kept).await?;
            self.repair(table, &bills).await?;
            self.beat().await?;
        }
        Ok(())
    }

    async fn keep(&mut self, findings: Vec<Finding>) -> Result<()> {
        let kept = keep(&self.worker.source, &self.settings.source_name, self.run, findings).await?;
        self.findings.extend(kept);
        Ok(())
    }

    async fn repair(&mut self, table: &Table, bills: &[String]) -> Result<()> {
        if !self.options.repair || bills.is_empty() {
            return Ok(());
        }
        let parameters: Parameters<'_> =
            &[&self.settings.source_name, &table.reference_type, &bills, &self.settings.backfill_queue_max];
        let enqueued = self.worker.source.execute(sql::REPAIR, parameters).await.doing("enqueueing what differs")?;
        self.repairs += enqueued as i64;
        Ok(())
    }

    /// Events that wait for longer than the time between two runs.
    async fn late(&mut self, table: &Table, events: i64) -> Result<()> {
        let of = &table.reference_type;
        if events > 0 {
            let message = format!(
                "{events} events of {of} have been waiting for longer than reconciliation_frequency_hours: `daybook status`, and column \
                 last_error of daybook.sync_queue, say why"
            );
            self.keep(vec![Finding::of_table(Kind::Late, FoundBy::Capture, of, of, message)]).await?;
        }
        Ok(())
    }

    /// Rows from before their table was attached, which nobody enqueued.
    async fn never_posted(&mut self, table: &mut Table) -> Result<()> {
        let (of, count) = (table.reference_type.clone(), table.never_posted);
        if count > 0 {
            table.findings += 1;
            let message = format!(
                "{count} bills of {of} have never been posted: they may be from before the table was attached. Post them: `daybook \
                 backfill {of}`; or attach it with a go_live date"
            );
            self.keep(vec![Finding::of_table(Kind::Missing, FoundBy::Capture, &of, &of, message)]).await?;
        }
        Ok(())
    }

    /// Says that the run is alive, now and then.
    async fn beat(&mut self) -> Result<()> {
        if self.beaten.elapsed() >= BEAT_INTERVAL {
            self.beaten = Instant::now();
            self.say_alive().await?;
        }
        Ok(())
    }

    /// Awaits what may take long, and says meanwhile that the run is alive.
    async fn alive_until<T>(&self, ends: impl Future<Output = T>) -> Result<T> {
        let mut ends = std::pin::pin!(ends);
        loop {
            match tokio::time::timeout(BEAT_INTERVAL, &mut ends).await {
                Ok(ended) => return Ok(ended),
                Err(_) => self.say_alive().await?,
            }
        }
    }

    async fn say_alive(&self) -> Result<()> {
        self.worker.source.execute(sql::BEAT, &[&self.run]).await.doing("giving a sign of life")?;
        Ok(())
    }

    /// Writes what came of it. An error of the run is written, too, and returned.
    async fn end(mut self, tables: Result<Vec<Table>>) -> Result<Report> {
        let (tables, error) = match tables {
            Ok(tables) => (tables, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        if error.is_some() {
            self.worker.rollback().await?; // whatever it failed in
        }
        if error.is_none() && !self.options.only_repaired {
            let proven = tables.iter().filter(|table| table.not_proven.is_none());
            let looked: Vec<String> = proven.map(|table| table.reference_type.clone()).collect();
            let everywhere = self.options.reference_type.is_none() && self.options.site.is_none();
            resolve(&self.worker.source, self.run, FoundBy::Capture, &looked, everywhere).await?;
        }
        let open =
            self.worker.source.query_one(sql::OPEN_CRITICAL, &[&self.options.reference_type, &self.options.site]).await;
        let open: i64 = open.doing("counting open findings")?.get("open");
        let report = Report::new(&self, tables, open, error.as_ref());
        let covered = serde_json::to_value(&report.tables).unwrap_or_default();
        let (outcome, repairs) = (report.outcome, self.repairs);
        let (findings, told) = (report.critical() as i64, error.as_ref().map(|error| error.to_string()));
        let parameters: Parameters<'_> =
            &[&self.run, &outcome, &report.proven_until, &covered, &findings, &repairs, &told];
        self.worker.source.execute(sql::END_RUN, parameters).await.doing("noting what came of it")?;
        match error {
            Some(error) => Err(error),
            None => {
                self.findings.clear();
                Ok(report)
            }
        }
    }
}
