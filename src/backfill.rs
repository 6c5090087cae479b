//! `daybook backfill`: enqueues the bills that a table held before it was attached, in chunks, in key order, while the
//! application writes. How far it has come stands in its event, so that it goes on after any interruption, here or in `daybook run`.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio_postgres::Client;

use crate::connecting::connect_worker;
use crate::error::{Doing, Error, Result};
use crate::options::Urls;
use crate::print;
use crate::queue::Claim;
use crate::switches::{attached, refused};
use crate::synchronise::Worker;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    urls: Urls,
    /// Reference type, such as PHARMACY, or the table's name [default: every attached table, one after the other]
    table: Option<String>,
}

/// Runs until every key has been enqueued; posting them is the consumers' work.
pub async fn backfill(Arguments { urls, table }: Arguments) -> Result<u8> {
    let databases = urls.one()?;
    let source = crate::database::connect(crate::database::Side::Source, &databases.source).await?;
    let tables: Vec<(String, String)> = match &table {
        Some(table) => vec![attached(&source, table).await?],
        None => {
            let rows = source.query(include_str!("../sql/attached_table.sql"), &[&"*"]).await.map_err(refused)?;
            rows.iter().filter(|row| !row.get::<_, bool>(2)).map(|row| (row.get(0), row.get(1))).collect()
        }
    };
    if tables.is_empty() {
        return Err(Error::Usage("no table is attached: `daybook attach FILE` first".into()));
    }
    let (mut worker, settings) = connect_worker(&databases).await?;
    let pause = Duration::from_millis(settings.poll_interval_ms_max);
    for (reference_type, relation) in tables {
        let (seen, enqueued) = enqueue(&source, &mut worker, &reference_type, &relation, pause).await?;
        print::line(format_args!(
            "{reference_type}: {enqueued} bills of {relation} enqueued; {} from before the go-live date were left out",
            seen - enqueued
        ));
    }
    Ok(0)
}

/// Goes on with the table's event until it has left the queue; returns how many keys it saw and enqueued.
async fn enqueue(
    source: &Client,
    worker: &mut Worker,
    reference_type: &str,
    relation: &str,
    pause: Duration,
) -> Result<(i64, i64)> {
    let begin = "SELECT daybook.backfill($1::text::regclass)";
    let seq: i64 = worker.source.query_one(begin, &[&relation]).await.map_err(refused)?.get(0);
    let rows = source.query_one(include_str!("../sql/estimated_rows.sql"), &[&relation]).await.map_err(refused)?;
    let bar = progress_bar(reference_type, rows.get(0));
    let mut seen = -1;
    let mut has_told = false;
    loop {
        let pass = worker.pass(reference_type, &Claim::Exactly { seqs: vec![seq] }, None).await;
        if let Err(failure) = pass {
            worker.rollback().await?;
            bar.abandon();
            return Err(failure.error);
        }
        let progress = source.query_one(include_str!("../sql/backfill_progress.sql"), &[&reference_type, &seq]).await;
        let progress = progress.doing("looking at the progress")?;
        let now: i64 = progress.get("keys_seen");
        if progress.get("is_finished") {
            bar.finish_and_clear();
            return Ok((now, progress.get("keys_enqueued")));
        }
        bar.set_position(u64::try_from(now).unwrap_or_default());
        if now == seen {
            let why = progress.get::<_, Option<String>>("last_error").unwrap_or("another process is at it".into());
            if !std::mem::replace(&mut has_told, true) {
                tracing::info!(reference_type, "{why}; what is queued is posted by `daybook run`");
            }
            bar.set_message(why);
            tokio::time::sleep(pause).await;
        }
        seen = now;
    }
}

fn progress_bar(reference_type: &str, rows: i64) -> ProgressBar {
    let target = match std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(u64::try_from(rows).unwrap_or_default()), target);
    if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} keys, {eta} left {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(reference_type.to_string());
    bar
}
