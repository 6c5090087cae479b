//! Whether a side is the one that this program installs: versions, functions, guards. Pure.

use super::facts::{Function, Guards, Trigger};
use super::finding::{Finding, Place};
use super::shipped::Essence;
use crate::database::{Side, quote_identifier};
use crate::install::Shipped;

fn place(side: Side) -> Place {
    match side {
        Side::Source => Place::Source,
        Side::Ledger => Place::Ledger,
    }
}

/// The history of migrations against those of this program. Both by version.
pub fn schema_version(shipped: &[Shipped], applied: &[Shipped], side: Side) -> Vec<Finding> {
    let (ours, theirs) = (shipped.last().map_or(0, |of| of.version), applied.last().map_or(0, |of| of.version));
    let side = side.name();
    if theirs > ours {
        let problem = format!(
            "the {side} side has version {theirs}, and this program (daybook {}) knows {ours}: use the program that installed it, \
             or a newer one",
            env!("CARGO_PKG_VERSION")
        );
        return vec![
            Finding::error("schema_version", side, problem)
                .fix(Place::Shell, "daybook --version # on the machine whose daybook installed last; use that one"),
        ];
    }
    let changed = shipped.iter().zip(applied).find(|(ours, theirs)| ours != theirs);
    if let Some((ours, theirs)) = changed {
        let problem = format!(
            "migration {} of the {side} side is not the one that this program ships (it is V{}__{}): another daybook installed it",
            ours.version, theirs.version, theirs.name
        );
        return vec![
            Finding::error("schema_version", side, problem)
                .fix(Place::Shell, "daybook --version # on the machine whose daybook installed last; use that one"),
        ];
    }
    if applied.len() < shipped.len() {
        let problem = format!("the {side} side has version {theirs}, and this program needs {ours}");
        return vec![Finding::error("schema_version", side, problem).fix(Place::Shell, "daybook install")];
    }
    Vec::new()
}

/// Every function that is shipped is there and the same, and nothing else is.
pub fn functions(shipped: &[Essence], present: &[Function], schema: &str, side: Side) -> Vec<Finding> {
    let mut findings = Vec::new();
    let there: Vec<Essence> = present.iter().map(Essence::of).collect();
    let is_same = |a: &Essence, b: &Essence| (&a.name, &a.arguments) == (&b.name, &b.arguments);
    for wanted in shipped {
        let problem = match there.iter().find(|there| is_same(there, wanted)) {
            Some(there) if there == wanted => continue,
            Some(_) => "is not as this program installs it: another version installed it, or somebody changed it",
            None => "is missing",
        };
        let subject = format!("{schema}.{}({})", wanted.name, wanted.arguments);
        findings.push(Finding::error("functions", subject, problem).fix(Place::Shell, "daybook install"));
    }
    for (function, there) in present.iter().zip(&there) {
        if !shipped.iter().any(|wanted| is_same(there, wanted)) {
            findings.push(stranger(function, side));
        }
    }
    findings
}

fn stranger(function: &Function, side: Side) -> Finding {
    Finding::warning("functions", &function.signature, "is none of daybook's functions, and stands in its schema")
        .fix(place(side), format!("DROP FUNCTION {};", function.signature))
}

/// A trigger of ours on a table of ours.
struct Guard {
    table: &'static str,
    name: &'static str,
    event: &'static str,
    level: &'static str,
    function: &'static str,
    /// `pg_trigger.tgtype`
    kind: i16,
    new_table: Option<&'static str>,
}

const KEEP: &str = "BEFORE UPDATE OR DELETE OR TRUNCATE";
const KEEP_ROWS: &str = "BEFORE UPDATE OR DELETE";
const KEEP_KIND: i16 = 2 + 8 + 16 + 32;
const KEEP_ROWS_KIND: i16 = 1 + 2 + 8 + 16;

const fn guard(table: &'static str, name: &'static str, function: &'static str) -> Guard {
    Guard { table, name, event: KEEP, level: "STATEMENT", function, kind: KEEP_KIND, new_table: None }
}

/// Of what may change row by row, and never be emptied.
const fn truncate_guard(table: &'static str) -> Guard {
    const BEFORE_TRUNCATE: i16 = 2 + 32;
    Guard {
        table,
        name: "refuse_truncate",
        event: "BEFORE TRUNCATE",
        level: "STATEMENT",
        function: "ledger.refuse_truncate",
        kind: BEFORE_TRUNCATE,
        new_table: None,
    }
}

const fn row_guard(table: &'static str, name: &'static str, function: &'static str) -> Guard {
    Guard { table, name, event: KEEP_ROWS, level: "ROW", function, kind: KEEP_ROWS_KIND, new_table: None }
}

const fn seal(table: &'static str, function: &'static str, new_table: &'static str) -> Guard {
    Guard {
        table,
        name: "sealed",
        event: "AFTER INSERT",
        level: "STATEMENT",
        function,
        kind: 4,
        new_table: Some(new_table),
    }
}

const fn cash_guard(table: &'static str) -> Guard {
    guard(table, "refuse_cash_change", "ledger.refuse_cash_change")
}

/// A step in the life of a day of cash follows the one before.
const fn cash_step(table: &'static str) -> Guard {
    const BEFORE_INSERT_ROW: i16 = 1 + 2 + 4;
    Guard {
        table,
        name: "guard_cash_step",
        event: "BEFORE INSERT",
        level: "ROW",
        function: "ledger.guard_cash_step",
        kind: BEFORE_INSERT_ROW,
        new_table: None,
    }
}
/// Of what goes in only where it fits.
const BLOCK_GUARD: Guard = Guard {
    table: "ledger.blocks",
    name: "chain_block",
    event: "BEFORE INSERT",
    level: "ROW",
    function: "ledger.chain_block",
    kind: 1 + 2 + 4,
    new_table: None,
};

const SOURCE_GUARDS: &[Guard] =
    &[row_guard("daybook.sync_configuration", "guard_configuration", "daybook.guard_configuration")];

const LEDGER_GUARDS: &[Guard] = &[
    guard("ledger.journal_entries", "append_only", "ledger.refuse_change"),
    guard("ledger.journal_lines", "append_only", "ledger.refuse_change"),
    seal("ledger.journal_entries", "ledger.seal_headers", "new_entries"),
    seal("ledger.journal_lines", "ledger.seal_lines", "new_lines"),
    row_guard("ledger.books", "guard_book", "ledger.guard_book"),
    row_guard("ledger.accounts", "guard_account", "ledger.guard_account"),
    row_guard("ledger.posting_rules", "guard_posting_rule", "ledger.guard_posting_rule"),
    truncate_guard("ledger.accounts"),
    truncate_guard("ledger.posting_rules"),
    truncate_guard("ledger.periods"),
    guard("ledger.period_log", "refuse_change", "ledger.refuse_change"),
    cash_guard("ledger.cash_days"),
    cash_step("ledger.cash_days"),
    cash_guard("ledger.cash_counts"),
    cash_step("ledger.cash_counts"),
    cash_guard("ledger.cash_closing_accounts"),
    cash_step("ledger.cash_closing_accounts"),
    cash_guard("ledger.cash_closings"),
    cash_step("ledger.cash_closings"),
    cash_guard("ledger.cash_reopenings"),
    cash_step("ledger.cash_reopenings"),
    guard("ledger.blocks", "append_only", "ledger.refuse_change"),
    BLOCK_GUARD,
    row_guard("ledger.chains", "guard_chain", "ledger.guard_chain"),
    truncate_guard("ledger.chains"),
];

impl Guard {
    fn is_held_by(&self, trigger: &Trigger) -> bool {
        trigger.enabled == "A"
            && trigger.function == self.function
            && trigger.kind == self.kind
            && trigger.new_table.as_deref() == self.new_table
            && trigger.is_plain
    }

    /// In one transaction, so that no write slips through in between.
    fn put_in_place(&self) -> String {
        let Guard { table, name, event, level, function, .. } = self;
        let transition = self.new_table.map(|new| format!(" REFERENCING NEW TABLE AS {new}")).unwrap_or_default();
        format!(
            "BEGIN;\nDROP TRIGGER IF EXISTS {name} ON {table};\n\
             CREATE TRIGGER {name} {event} ON {table}{transition} FOR EACH {level} EXECUTE FUNCTION {function}();\n\
             ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name};\nCOMMIT;"
        )
    }
}

/// The guards of our own tables stand, fire always, and run the functions that they should.
pub fn guards(guards: &Guards, present: &[Function], side: Side) -> Vec<Finding> {
    let expected = match side {
        Side::Source => SOURCE_GUARDS,
        Side::Ledger => LEDGER_GUARDS,
    };
    let mut findings = Vec::new();
    for guard in expected {
        let trigger = guards.triggers.iter().find(|trigger| trigger.table == guard.table && trigger.name == guard.name);
        let problem = match trigger {
            Some(trigger) if guard.is_held_by(trigger) => continue,
            None => "is missing",
            Some(trigger) if trigger.enabled != "A" => "does not fire always",
            Some(_) => "is another trigger than ours",
        };
        let problem = format!("guard {} {problem}: what must stay as it is can be changed", guard.name);
        let finding = Finding::error("guards", guard.table, problem);
        let has_function = present.iter().any(|function| guard.function.ends_with(&format!(".{}", function.name)));
        findings.push(match has_function {
            true => finding.fix(place(side), guard.put_in_place()),
            false => finding.fix(Place::Shell, "daybook install"),
        });
    }
    for Trigger { table, name, .. } in &guards.triggers {
        if !expected.iter().any(|guard| guard.table == table && guard.name == name) {
            findings.push(
                Finding::warning(
                    "guards",
                    table,
                    format!("trigger {name} is none of ours, and can change what is written"),
                )
                .fix(place(side), format!("DROP TRIGGER {} ON {table};", quote_identifier(name))),
            );
        }
    }
    for rule in &guards.rules {
        findings.push(
            Finding::error("guards", &rule.table, format!("rule {} rewrites what is written there", rule.name))
                .fix(place(side), format!("DROP RULE {} ON {};", quote_identifier(&rule.name), rule.table)),
        );
    }
    for table in &guards.row_security {
        findings.push(
            Finding::error("guards", table, "has row security, which refuses daybook's own statements")
                .fix(place(side), format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY;")),
        );
    }
    findings
}

/// A child or a partition is written past the triggers of its parent: it can hold what the guards would refuse.
pub fn inheritance(guards: &Guards, side: Side) -> Vec<Finding> {
    let finding = |of: &super::facts::Inheritance| {
        let problem =
            format!("is a child of {}: what is written through the one passes by the guards of the other", of.parent);
        let fix = match of.is_partition {
            true => format!("ALTER TABLE {} DETACH PARTITION {};", of.parent, of.child),
            false => format!("ALTER TABLE {} NO INHERIT {};", of.child, of.parent),
        };
        Finding::error("inheritance", &of.child, problem).fix(place(side), fix)
    };
    guards.inheritance.iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(versions: std::ops::RangeInclusive<i32>) -> Vec<Shipped> {
        let of = |version| Shipped { version, name: format!("m{version}"), checksum: version.to_string() };
        versions.map(of).collect()
    }

    #[test]
    fn versions_are_compared_migration_by_migration() {
        let mut changed = shipped(1..=3);
        changed[1].checksum = "x".into();
        let table = [
            (shipped(1..=3), ""),
            (shipped(1..=2), "the source side has version 2, and this program needs 3"),
            (Vec::new(), "the source side has version 0, and this program needs 3"),
            (shipped(1..=4), "the source side has version 4, and this program"),
            (changed, "migration 2 of the source side is not the one"),
        ];
        for (applied, expected) in table {
            let found = schema_version(&shipped(1..=3), &applied, Side::Source);
            assert_eq!(found.is_empty(), expected.is_empty());
            assert!(found.iter().all(|finding| finding.problem.starts_with(expected)), "{found:?}");
        }
    }

    #[test]
    fn a_function_that_is_missing_changed_or_strange_is_told() {
        let function = |name: &str, arguments: &str, body: &str| Function {
            name: name.into(),
            arguments: arguments.into(),
            signature: format!("daybook.{name}({arguments})"),
            body: body.into(),
            language: "sql".into(),
            volatility: "v".into(),
            ..Function::default()
        };
        let as_shipped = [("f", "text", "1"), ("f", "integer", "1"), ("g", "", "3")];
        let wanted: Vec<Essence> = as_shipped.map(|(n, a, b)| Essence::of(&function(n, a, b))).into();
        let found = |present: &[(&str, &str, &str)]| {
            let present: Vec<Function> = present.iter().map(|(n, a, b)| function(n, a, b)).collect();
            let found = functions(&wanted, &present, "daybook", Side::Source);
            found.iter().map(|finding| format!("{}: {}", finding.subject, finding.fix)).collect::<Vec<_>>()
        };
        let [text, integer, g] = as_shipped;
        assert!(found(&[g, integer, text]).is_empty());
        assert_eq!(found(&[text, g]), ["daybook.f(integer): daybook install"]);
        assert_eq!(found(&[text, ("f", "integer", "x"), g]), ["daybook.f(integer): daybook install"]);
        assert_eq!(
            found(&[text, integer, ("f", "bigint", "1"), g, ("h", "", "")]),
            ["daybook.f(bigint): DROP FUNCTION daybook.f(bigint);", "daybook.h(): DROP FUNCTION daybook.h();"]
        );
    }

    #[test]
    fn a_guard_counts_only_as_it_was_made() {
        let right = Trigger {
            table: "daybook.sync_configuration".into(),
            name: "guard_configuration".into(),
            enabled: "A".into(),
            kind: KEEP_ROWS_KIND,
            new_table: None,
            function: "daybook.guard_configuration".into(),
            is_plain: true,
        };
        let found = |trigger: Trigger| {
            guards(&Guards { triggers: vec![trigger], ..Guards::default() }, &[], Side::Source).len()
        };
        assert_eq!(found(right.clone()), 0);
        for wrong in [
            Trigger { enabled: "O".into(), ..right.clone() },
            Trigger { enabled: "D".into(), ..right.clone() },
            Trigger { kind: 4, ..right.clone() },
            Trigger { function: "public.f".into(), ..right.clone() },
            Trigger { is_plain: false, ..right.clone() },
        ] {
            assert_eq!(found(wrong.clone()), 1, "{wrong:?}");
        }
    }
}
