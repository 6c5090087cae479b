//! Findings: what differs, under a key that stays the same from run to run.

use chrono::NaiveDate;
use serde::Serialize;

use crate::database::Session;
use crate::error::{Doing, Result};
use crate::sql::reconcile as sql;

/// What is wrong, as `daybook.reconciliation_findings.kind` spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A bill that should have entries has none.
    Missing,
    /// The ledger holds an older state of the row.
    Stale,
    WrongAmount,
    WrongAccount,
    WrongDate,
    WrongDimension,
    /// Entries without a row.
    Orphan,
    /// Two originals or corrections of one bill are live.
    Duplicate,
    /// Changes have been waiting for longer than the time between two reconciliations.
    Late,
    /// Changes of a table are not captured, or may not be.
    CaptureGap,
    Unbalanced,
    /// The journal, or the status of a bill, was changed past its guards.
    Tampered,
    /// The totals in plain SQL say otherwise than the posting function.
    ProofDisagrees,
    ReceivableOverdue,
    DraftOverdue,
    TaxDiffers,
    DiscountMissing,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Missing => "missing",
            Kind::Stale => "stale",
            Kind::WrongAmount => "wrong_amount",
            Kind::WrongAccount => "wrong_account",
            Kind::WrongDate => "wrong_date",
            Kind::WrongDimension => "wrong_dimension",
            Kind::Orphan => "orphan",
            Kind::Duplicate => "duplicate",
            Kind::Late => "late",
            Kind::CaptureGap => "capture_gap",
            Kind::Unbalanced => "unbalanced",
            Kind::Tampered => "tampered",
            Kind::ProofDisagrees => "proof_disagrees",
            Kind::ReceivableOverdue => "receivable_overdue",
            Kind::DraftOverdue => "draft_overdue",
            Kind::TaxDiffers => "tax_differs",
            Kind::DiscountMissing => "discount_missing",
        }
    }

    /// Those of the clinic's rules.
    pub const OF_THE_CLINIC: [Kind; 4] =
        [Kind::ReceivableOverdue, Kind::TaxDiffers, Kind::DraftOverdue, Kind::DiscountMissing];

    /// Whether the ledger is not proven while it stands; the others are for a person to look at.
    pub fn is_critical(self) -> bool {
        !matches!(
            self,
            Kind::Late | Kind::ReceivableOverdue | Kind::DraftOverdue | Kind::TaxDiffers | Kind::DiscountMissing
        )
    }
}

/// The look that sees a finding, and by which it is over; as `daybook.reconciliation_findings.found_by` spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FoundBy {
    /// Each bill, under its lock.
    Bills,
    /// The status of bills beside the journal.
    Status,
    /// Triggers, functions, columns, rights, identities, and what waits.
    Capture,
    /// Totals by site, day and account.
    Totals,
    /// The journal by itself.
    Journal,
    /// The rules of the clinic.
    Clinic,
}

impl FoundBy {
    pub fn as_str(self) -> &'static str {
        match self {
            FoundBy::Bills => "bills",
            FoundBy::Status => "status",
            FoundBy::Capture => "capture",
            FoundBy::Totals => "totals",
            FoundBy::Journal => "journal",
            FoundBy::Clinic => "clinic",
        }
    }
}

/// One thing that is wrong. Holds ids, accounts and money, and no other value of a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    pub kind: Kind,
    #[serde(skip)]
    pub found_by: FoundBy,
    /// Stays the same from run to run.
    pub key: String,
    pub reference_type: Option<String>,
    pub reference_id: Option<String>,
    pub site: Option<String>,
    pub day: Option<NaiveDate>,
    pub entry_id: Option<i64>,
    /// What is wrong, in one line.
    pub message: String,
    /// By account what the bill says and what the ledger has, amounts as texts.
    pub details: serde_json::Value,
}

impl Finding {
    /// About something named by `subject`, which with the kind makes its key.
    pub fn new(kind: Kind, found_by: FoundBy, subject: &str, message: impl Into<String>) -> Finding {
        Finding {
            kind,
            found_by,
            key: format!("{} {subject}", kind.as_str()),
            reference_type: None,
            reference_id: None,
            site: None,
            day: None,
            entry_id: None,
            message: message.into(),
            details: serde_json::json!({}),
        }
    }

    pub fn of_bill(kind: Kind, reference_type: &str, reference_id: &str, message: impl Into<String>) -> Finding {
        Finding {
            reference_id: Some(reference_id.into()),
            ..Finding::of_table(
                kind,
                FoundBy::Bills,
                reference_type,
                &format!("{reference_type} {reference_id}"),
                message,
            )
        }
    }

    pub fn of_table(
        kind: Kind,
        found_by: FoundBy,
        reference_type: &str,
        subject: &str,
        message: impl Into<String>,
    ) -> Finding {
        Finding { reference_type: Some(reference_type.into()), ..Finding::new(kind, found_by, subject, message) }
    }
}

/// Keeps findings; returns those that nobody has resolved, with a word of their history in the message.
pub(super) async fn keep(
    source: &Session,
    source_name: &str,
    run: i64,
    findings: Vec<Finding>,
) -> Result<Vec<Finding>> {
    if findings.is_empty() {
        return Ok(findings);
    }
    // One statement cannot update a row twice.
    let mut findings = findings;
    findings.sort_by(|a, b| a.key.cmp(&b.key));
    findings.dedup_by(|a, b| a.key == b.key);
    macro_rules! column {
        ($finding:ident => $value:expr) => {
            findings.iter().map(|$finding| $value).collect::<Vec<_>>()
        };
    }
    let rows = source
        .query(
            sql::KEEP_FINDINGS,
            &[
                &run,
                &source_name,
                &column!(f => f.key.as_str()),
                &column!(f => f.kind.as_str()),
                &column!(f => if f.kind.is_critical() { "critical" } else { "warning" }),
                &column!(f => f.found_by.as_str()),
                &column!(f => f.reference_type.as_deref()),
                &column!(f => f.reference_id.as_deref()),
                &column!(f => f.site.as_deref()),
                &column!(f => f.day.map(|day| day.to_string())),
                &column!(f => f.entry_id),
                &column!(f => f.message.as_str()),
                &column!(f => f.details.to_string()),
            ],
        )
        .await
        .doing("keeping findings")?;
    let told: std::collections::HashMap<String, (i32, bool)> =
        rows.iter().map(|row| (row.get(0), (row.get(2), row.get(3)))).collect();
    findings.retain_mut(|finding| match told.get(&finding.key) {
        Some((_, true)) => false,
        Some((returned @ 1.., _)) => {
            finding.message += &format!(" (it was gone, and came back: {returned} times)");
            true
        }
        _ => true,
    });
    Ok(findings)
}

/// The findings of a look that were not seen again are over. `tables`: where it looked; `of_none`: whether at what is of no table, too.
pub(super) async fn resolve(
    source: &Session,
    run: i64,
    found_by: FoundBy,
    tables: &[String],
    of_none: bool,
) -> Result<u64> {
    let resolved = source.execute(sql::RESOLVE_FINDINGS, &[&run, &found_by.as_str(), &tables, &of_none]).await;
    resolved.doing("closing findings that are over")
}
