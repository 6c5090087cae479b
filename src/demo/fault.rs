//! The proof, before one's eyes: the ledger is proven, a bill is changed past capture, found, and healed.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::{Capture, Running};
use crate::consumer;
use crate::error::{Doing, Result};
use crate::options::Databases;
use crate::print;
use crate::reconcile::{Options, Report, reconcile};

/// What bypasses capture: a superuser who switches the trigger off for a while.
const BYPASS: &str = "BEGIN;
    ALTER TABLE pharmacy_bills DISABLE TRIGGER daybook_capture;
    UPDATE pharmacy_bills SET total_amount = total_amount + 500, discounted_total = NULL
    WHERE id = (SELECT min(id) FROM pharmacy_bills WHERE invoice_number IS NOT NULL AND total_amount > 0
                AND payment_mode IS DISTINCT FROM 'barter');
    ALTER TABLE pharmacy_bills ENABLE ALWAYS TRIGGER daybook_capture;
    COMMIT";

/// The same bill, changed by the application, after which there is no slot any more that kept the change.
const LOSS: &str = "UPDATE pharmacy_bills SET total_amount = total_amount + 500, discounted_total = NULL
    WHERE id = (SELECT min(id) FROM pharmacy_bills WHERE invoice_number IS NOT NULL AND total_amount > 0
                AND payment_mode IS DISTINCT FROM 'barter');
    SELECT pg_drop_replication_slot(daybook.slot_name())";

/// How long the stream may take to find what bypassed the triggers.
const FINDING_MAX: Duration = Duration::from_secs(30);

/// Proves the ledger in full, breaks one bill, and has it found and healed. Returns whether all of that came true.
pub async fn prove_break_and_heal(clinic: &Client, databases: &Databases, capture: Capture) -> Result<bool> {
    print::line("\nreconciling: each row through the posting function, totals in plain SQL, capture and guards");
    // What is captured from the WAL is proven only while it is streamed.
    let running = (capture != Capture::Trigger).then(|| Running::start(databases.clone()));
    let proven = look(databases, true).await?;
    print::line(proven.to_text());
    let is_found = match (capture, running) {
        (Capture::Both, Some(running)) => {
            let is_found = found_in_the_wal(clinic).await?;
            let healed = look(databases, false).await?;
            running.end().await?;
            print::line(healed.to_text());
            return Ok(proven.outcome == "proven" && is_found && healed.outcome == "proven");
        }
        (_, Some(running)) => {
            running.end().await?;
            print::line(
                "\nnow the consumer stops, a pharmacy bill becomes 500.00 dearer, and a superuser drops the slot",
            );
            clinic.batch_execute(LOSS).await.doing("dropping the slot")?;
            told(clinic, "SLOT_LOST").await?
        }
        (_, None) => {
            print::line(
                "\nnow a superuser switches the trigger off, makes a pharmacy bill 500.00 dearer, and switches it on again",
            );
            clinic.batch_execute(BYPASS).await.doing("changing a bill past capture")?;
            let found = look(databases, false).await?;
            print::line(found.to_text());
            found.critical() == 1 && found.repairs == 1
        }
    };
    let drained = consumer::drain(databases.clone(), Duration::from_secs(60)).await?;
    print::line(format_args!(
        "\nthe repair was posted like any other event ({} finished); looking again",
        drained.events
    ));
    let running = (capture != Capture::Trigger).then(|| Running::start(databases.clone()));
    let healed = look(databases, false).await?;
    print::line(healed.to_text());
    if let Some(running) = running {
        running.end().await?;
    }
    Ok(proven.outcome == "proven" && is_found && healed.outcome == "proven")
}

/// Bypasses the triggers, and waits for the stream to say so and for the bill to be posted.
async fn found_in_the_wal(clinic: &Client) -> Result<bool> {
    print::line(
        "\nnow a superuser switches the trigger off, makes a pharmacy bill 500.00 dearer, and switches it on again, while daybook streams",
    );
    clinic.batch_execute(BYPASS).await.doing("changing a bill past capture")?;
    let began = Instant::now();
    while began.elapsed() < FINDING_MAX {
        if told(clinic, "CAPTURE_GAP").await? {
            print::line(format_args!("found in the WAL, and posted, {:.1} s later", began.elapsed().as_secs_f64()));
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(false)
}

/// Whether an alert stands; then it is shown.
async fn told(clinic: &Client, alert_type: &str) -> Result<bool> {
    let sql = "SELECT message FROM daybook.current_alerts WHERE alert_type = $1";
    let alert = clinic.query_opt(sql, &[&alert_type]).await.doing("looking at alerts")?;
    if let Some(alert) = &alert {
        print::line(format_args!("{alert_type}: {}", alert.get::<_, String>(0)));
    }
    Ok(alert.is_some())
}

async fn look(databases: &Databases, full: bool) -> Result<Report> {
    let options = Options { full, journal: full, repair: true, ..Options::default() };
    reconcile(databases, options).await
}
