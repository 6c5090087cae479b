//! What capture and the ledger's guards rest on, by the word of `daybook doctor`: triggers and their functions, columns, keys, rights and
//! guards. A table whose changes are not captured differs sooner or later, even if it does not yet. Whether source and
//! ledger belong together was settled when the run connected.

use super::findings::{Finding, FoundBy, Kind};
use super::{Reconciliation, Table};
use crate::doctor::finding::Severity;
use crate::doctor::{self, Limits};
use crate::error::Result;

/// The checks of doctor's that are about what is captured, each with what a failure is.
const CHECKS: [(&str, Kind); 13] = [
    ("capture_triggers", Kind::CaptureGap),
    ("capture_function", Kind::CaptureGap),
    ("stream_tables", Kind::CaptureGap),
    ("dropped", Kind::CaptureGap),
    ("columns", Kind::CaptureGap),
    ("keys", Kind::CaptureGap),
    ("privileges", Kind::CaptureGap),
    ("row_security", Kind::CaptureGap),
    ("inheriting_tables", Kind::CaptureGap),
    ("rules", Kind::CaptureGap),
    ("functions", Kind::Tampered),
    ("guards", Kind::Tampered),
    ("inheritance", Kind::Tampered),
];

impl Reconciliation {
    pub(super) async fn look_at_capture(&mut self, tables: &[Table]) -> Result<()> {
        let mut errors = self.errors().await?;
        if !errors.is_empty() {
            // Doctor looks with many statements; what somebody is changing just now is not there twice.
            let again = self.errors().await?;
            errors.retain(|error| again.contains(error));
        }
        let mut findings = Vec::new();
        for error in errors {
            let Some((check, kind)) = CHECKS.iter().find(|(check, _)| *check == error.check) else { continue };
            // A partition or a trigger is told with its table.
            let table = tables.iter().find(|table| error.subject.contains(&table.relation));
            let message = format!("{}: {}. `daybook doctor` says what mends it", error.subject, error.problem);
            let subject = format!("{check} {}", error.subject);
            findings.push(Finding {
                reference_type: table.map(|table| table.reference_type.clone()),
                ..Finding::new(*kind, FoundBy::Capture, &subject, message)
            });
        }
        self.keep(findings).await
    }

    async fn errors(&self) -> Result<Vec<doctor::finding::Finding>> {
        let mut report = doctor::examine(&self.databases, &Limits::default()).await?;
        report.findings.retain(|finding| finding.severity == Severity::Error);
        Ok(report.findings)
    }
}
