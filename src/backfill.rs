//! `daybook backfill`: enqueues the bills that a table held before it was attached, in chunks, in key order, while the
//! application writes. How far it has come stands in its event, so that it goes on after any interruption, here or in `daybook run`.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::consumer::connect_worker;
use crate::error::{Doing, Error, Result};
use crate::options::Urls;
use crate::print;
use crate::queue::Claim;
use crate::switches::attached;
use crate::switches::refused;

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
            let sql =
                "SELECT reference_type, relation::text FROM daybook.sync_source WHERE suspended_at IS NULL ORDER BY 1";
            let rows = source.query(sql, &[]).await.map_err(refused)?;
            rows.iter().map(|row| (row.get(0), row.get(1))).collect()
        }
    };
    if tables.is_empty() {
        return Err(Error::Usage("no table is attached: `daybook attach FILE` first".into()));
    }
    let (mut worker, settings) = connect_worker(&databases).await?;
    for (reference_type, relation) in tables {
        let begin = "SELECT daybook.backfill($1::text::regclass)";
        let seq: i64 = worker.source.query_one(begin, &[&relation]).await.map_err(refused)?.get(0);
        let rows = include_str!("../sql/estimated_rows.sql");
        let rows: i64 = source.query_one(rows, &[&relation]).await.map_err(refused)?.get(0);
        let bar = progress_bar(&reference_type, rows);
        let mut has_told = false;
        let (seen, enqueued) = loop {
            let sql = "SELECT keys_seen, keys_enqueued, last_error FROM daybook.sync_queue WHERE reference_type = $1 AND seq = $2";
            let before = source.query_opt(sql, &[&reference_type, &seq]).await.doing("looking at the progress")?;
            let pass = worker.pass(&reference_type, &Claim::Exactly { seqs: vec![seq] }, None).await;
            if let Err(failure) = pass {
                worker.rollback().await?;
                bar.abandon();
                return Err(failure.error);
            }
            match source.query_opt(sql, &[&reference_type, &seq]).await.doing("looking at the progress")? {
                Some(row) => {
                    let (seen, stood): (i64, Option<i64>) = (row.get(0), before.as_ref().map(|row| row.get(0)));
                    bar.set_position(u64::try_from(seen).unwrap_or_default());
                    if stood == Some(seen) {
                        let why = row.get::<_, Option<String>>(2).unwrap_or("another process is at it".into());
                        if !std::mem::replace(&mut has_told, true) {
                            tracing::info!(reference_type, "{why}; what is queued is posted by `daybook run`");
                        }
                        bar.set_message(why);
                        tokio::time::sleep(Duration::from_millis(settings.poll_interval_ms_max)).await;
                    }
                }
                None => {
                    let sql = "SELECT keys_seen, keys_enqueued FROM daybook.sync_audit_log WHERE reference_type = $1 AND seq = $2";
                    let ended = source.query_opt(sql, &[&reference_type, &seq]).await.doing("looking at the end")?;
                    break ended.map_or((None, None), |row| (row.get(0), row.get(1)));
                }
            }
        };
        bar.finish_and_clear();
        let (seen, enqueued): (Option<i64>, Option<i64>) = (seen, enqueued);
        let (seen, enqueued) = (seen.unwrap_or_default(), enqueued.unwrap_or_default());
        print::line(format_args!(
            "{reference_type}: {enqueued} bills of {relation} enqueued; {} from before the go-live date were left out",
            seen - enqueued
        ));
    }
    Ok(0)
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
