//! What doctor found: findings with the statement that mends each, and the report for a terminal and as JSON.

use serde::Serialize;

/// How bad it is. An error makes doctor's exit code 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Changes are lost, or nothing is posted, or the journal is not guarded.
    Error,
    /// It works, and will not for ever, or a person is waited for.
    Warning,
    Info,
}

/// Where a fix is to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// SQL in the source database.
    Source,
    /// SQL in the ledger database.
    Ledger,
    /// A command; `daybook` with the same options as doctor.
    Shell,
}

/// One thing that is wrong, or worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name of the check.
    pub check: &'static str,
    pub severity: Severity,
    /// The table, role, setting or side that it is about.
    pub subject: String,
    /// What is wrong, in one line. Never holds a row's values.
    pub problem: String,
    /// The statements that mend it, one a line, to be said by a superuser where it is SQL.
    pub fix: String,
    pub fix_in: Place,
}

impl Finding {
    fn new(severity: Severity, check: &'static str, subject: impl Into<String>, problem: impl Into<String>) -> Finding {
        let (fix, fix_in) = (String::new(), Place::Shell);
        Finding { check, severity, subject: subject.into(), problem: problem.into(), fix, fix_in }
    }

    pub fn error(check: &'static str, subject: impl Into<String>, problem: impl Into<String>) -> Finding {
        Finding::new(Severity::Error, check, subject, problem)
    }

    pub fn warning(check: &'static str, subject: impl Into<String>, problem: impl Into<String>) -> Finding {
        Finding::new(Severity::Warning, check, subject, problem)
    }

    pub fn info(check: &'static str, subject: impl Into<String>, problem: impl Into<String>) -> Finding {
        Finding::new(Severity::Info, check, subject, problem)
    }

    pub fn of(
        severity: Severity,
        check: &'static str,
        subject: impl Into<String>,
        problem: impl Into<String>,
    ) -> Finding {
        Finding::new(severity, check, subject, problem)
    }

    /// With what mends it.
    pub fn fix(self, fix_in: Place, fix: impl Into<String>) -> Finding {
        Finding { fix: fix.into(), fix_in, ..self }
    }
}

/// Everything that was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The most severe first.
    pub findings: Vec<Finding>,
    /// The checks that found nothing, with their side.
    pub ok: Vec<String>,
}

impl Report {
    /// Takes what a check found on a side, or that it found nothing.
    pub fn take(&mut self, check: &str, side: &str, findings: Vec<Finding>) {
        if findings.is_empty() {
            self.ok.push(format!("{check} ({side})"));
        }
        self.findings.extend(findings);
    }

    pub fn sort(&mut self) {
        self.findings.sort_by_key(|finding| finding.severity);
    }

    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// For a terminal: each finding with its fix, and a count at the end.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let Finding { check, severity, subject, problem, fix, fix_in } = finding;
            let severity = match severity {
                Severity::Error => "ERROR  ",
                Severity::Warning => "WARNING",
                Severity::Info => "INFO   ",
            };
            text.push_str(&format!("{severity} {check}: {subject}\n        {problem}\n"));
            let place = match fix_in {
                Place::Source => "in the source database",
                Place::Ledger => "in the ledger database",
                Place::Shell => "command",
            };
            if !fix.is_empty() {
                text.push_str(&format!("        fix, {place}:\n"));
            }
            for line in fix.lines() {
                text.push_str(&format!("            {line}\n"));
            }
            text.push('\n');
        }
        let count = |severity, one: &str| {
            let count = self.count(severity);
            format!("{count} {one}{}", if count == 1 { "" } else { "s" })
        };
        text + &format!(
            "{}, {}, {} to know; {} checks found nothing",
            count(Severity::Error, "error"),
            count(Severity::Warning, "warning"),
            self.count(Severity::Info),
            self.ok.len()
        )
    }
}
