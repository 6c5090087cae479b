//! The proof, before one's eyes: the ledger is proven, a bill is changed past capture, found, and healed.

use std::time::Duration;

use tokio_postgres::Client;

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

/// Proves the ledger in full, breaks one bill, and has it found and healed. Returns whether all of that came true.
pub async fn prove_break_and_heal(clinic: &Client, databases: &Databases) -> Result<bool> {
    print::line("\nreconciling: each row through the posting function, totals in plain SQL, capture and guards");
    let proven = look(databases, true).await?;
    print::line(proven.to_text());
    print::line(
        "\nnow a superuser switches the trigger off, makes a pharmacy bill 500.00 dearer, and switches it on again",
    );
    clinic.batch_execute(BYPASS).await.doing("changing a bill past capture")?;
    let found = look(databases, false).await?;
    print::line(found.to_text());
    let drained = consumer::drain(databases.clone(), Duration::from_secs(60)).await?;
    print::line(format_args!(
        "\nthe repair was posted like any other event ({} finished); looking again",
        drained.events
    ));
    let healed = look(databases, false).await?;
    print::line(healed.to_text());
    let is_found = found.critical() == 1 && found.repairs == 1;
    Ok(proven.outcome == "proven" && is_found && healed.outcome == "proven")
}

async fn look(databases: &Databases, full: bool) -> Result<Report> {
    let options = Options { full, journal: full, repair: true, ..Options::default() };
    reconcile(databases, options).await
}
