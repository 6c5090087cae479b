//! Attached tables: whether each is captured, wholly, by our code, and may be read. Pure.

use super::facts::{Attached, CaptureTrigger};
use super::finding::{Finding, Place};
use crate::database::{quote_identifier, quote_literal};

/// Findings on every table; a table that is not there has those of [`dropped`] alone.
pub fn each(tables: &[Attached], see: impl Fn(&Attached) -> Vec<Finding>) -> Vec<Finding> {
    tables.iter().filter(|table| table.is_there).flat_map(see).collect()
}

pub fn subject(table: &Attached) -> String {
    format!("{} ({})", table.reference_type, table.name)
}

fn array(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| quote_literal(name)).collect();
    format!("ARRAY[{}]::text[]", names.join(", "))
}

pub fn attach(table: &Attached, relation: &str, key: &[String], filter: &[String]) -> String {
    format!(
        "SELECT daybook.attach({}, {}, {}, {});",
        quote_literal(relation),
        quote_literal(&table.reference_type),
        array(key),
        array(filter)
    )
}

/// As it was attached. What is missing of ours is put in place, and where changes were lost, it is reconciled.
fn attach_again(table: &Attached) -> String {
    attach(table, &table.name, &table.key_columns, &table.filter_columns)
}

pub fn reconcile(table: &Attached) -> String {
    format!("SELECT daybook.reconcile({});", quote_literal(&table.name))
}

pub fn dropped(tables: &[Attached]) -> Vec<Finding> {
    let finding = |table: &Attached| {
        let problem = |what: &str| format!("{} was dropped; its bills keep their entries. {what}", table.relation_name);
        let finding = |problem| Finding::error("dropped", &table.reference_type, problem);
        match &table.namesake {
            Some(other) => finding(problem("Another table has its name: attach that one")).fix(
                Place::Source,
                attach(table, other, &table.key_columns, &table.filter_columns),
            ),
            None => finding(problem("Put it back under its name, or give it up")).fix(Place::Source, format!(
                "SELECT daybook.detach(relation, discard_unfinished => true) FROM daybook.sync_source WHERE reference_type = {};",
                quote_literal(&table.reference_type)
            )),
        }
    };
    tables.iter().filter(|table| !table.is_there).map(finding).collect()
}

/// Triggers stand on the table and each partition, fire always, and are ours.
pub fn triggers(tables: &[Attached]) -> Vec<Finding> {
    each(tables, |table| {
        let error = |problem: String| Finding::error("capture_triggers", subject(table), problem);
        let wrong: Vec<&CaptureTrigger> = table.wrong_triggers.iter().filter(|trigger| !trigger.is_clone).collect();
        if !wrong.is_empty() {
            let names: Vec<String> =
                wrong.iter().map(|trigger| format!("{} on {}", trigger.name, trigger.table)).collect();
            let drop = |trigger: &&CaptureTrigger| {
                format!("DROP TRIGGER {} ON {};\n", quote_identifier(&trigger.name), trigger.table)
            };
            let problem = format!("{} is another trigger than ours: changes are lost", names.join(" and "));
            let drops: String = wrong.iter().map(drop).collect();
            // Attaching has it reconciled where the trigger for rows was missing, and not for that of TRUNCATE alone.
            let lost = match wrong.iter().any(|trigger| trigger.name == "daybook_capture") || !table.capture_is_whole {
                true => String::new(),
                false => reconcile(table) + "\n",
            };
            let fix = format!("BEGIN;\n{drops}{}\n{lost}COMMIT;", attach_again(table));
            return vec![error(problem).fix(Place::Source, fix)];
        }
        if !table.capture_is_whole {
            let problem = "a trigger of daybook is missing or disabled, on it or a partition, so that changes are lost; attaching again mends \
                 it, and has it reconciled";
            return vec![error(problem.into()).fix(Place::Source, attach_again(table))];
        }
        if !table.truncate_is_whole {
            let problem = "the trigger for TRUNCATE is missing or disabled, on it or on a partition that came later: a TRUNCATE \
                           would leave no event";
            return vec![
                Finding::warning("capture_triggers", subject(table), problem).fix(Place::Source, attach_again(table)),
            ];
        }
        Vec::new()
    })
}

/// The code that runs in the application's transactions is what would be written today.
pub fn function(tables: &[Attached]) -> Vec<Finding> {
    each(tables, |table| {
        let error = |problem: &str| Finding::error("capture_function", subject(table), problem);
        let name = format!("daybook.capture_{}", table.reference_type.to_lowercase());
        match (table.has_function, table.function_is_ours) {
            (false, _) => {
                vec![error(&format!("{name} is missing: nothing is captured")).fix(Place::Source, attach_again(table))]
            }
            (true, Some(true)) => Vec::new(),
            (true, _) => {
                let write = format!("SELECT daybook.write_capture_function({});", quote_literal(&table.name));
                let owner = format!("ALTER FUNCTION {}() OWNER TO daybook_owner;", {
                    let (schema, name) = name.split_once('.').unwrap_or_default();
                    format!("{schema}.{}", quote_identifier(name))
                });
                vec![
                    error(&format!(
                        "{name} is not what daybook writes for it now (columns, types, rights): changes may be lost, or more is \
                         done than should be"
                    ))
                    .fix(Place::Source, format!("{owner}\n{write}\n{}", reconcile(table))),
                ]
            }
        }
    })
}

pub fn suspended(tables: &[Attached]) -> Vec<Finding> {
    each(tables, |table| match table.is_suspended {
        false => Vec::new(),
        true => vec![
            Finding::warning(
                "suspended",
                subject(table),
                "is suspended: its changes are not captured until it is resumed",
            )
            .fix(Place::Source, format!("SELECT daybook.resume({});", quote_literal(&table.name))),
        ],
    })
}

/// The consumer may read the mapped columns.
pub fn privileges(tables: &[Attached]) -> Vec<Finding> {
    each(tables, |table| {
        let mut fixes = Vec::new();
        if let Some(schema) = &table.unreadable_schema {
            fixes.push(format!("GRANT USAGE ON SCHEMA {schema} TO daybook_consumer;"));
        }
        if !table.unreadable_columns.is_empty() {
            let columns: Vec<String> = table.unreadable_columns.iter().map(|name| quote_identifier(name)).collect();
            fixes.push(format!("GRANT SELECT ({}) ON {} TO daybook_consumer;", columns.join(", "), table.name));
        }
        if fixes.is_empty() {
            return Vec::new();
        }
        let problem = "daybook_consumer may not read its mapped columns, so that its bills are not posted";
        vec![Finding::error("privileges", subject(table), problem).fix(Place::Source, fixes.join("\n"))]
    })
}

/// The consumer reads with `row_security = off`, so that a hidden row is an error and never taken for a deleted one. Then a policy
/// that lets every row pass is no help either: the role must be exempt.
pub fn row_security(tables: &[Attached]) -> Vec<Finding> {
    each(tables, |table| {
        match table.row_security_refuses {
        false => Vec::new(),
        true => vec![
            Finding::error(
                "row_security",
                subject(table),
                "has row security, and daybook_consumer must see every row to post its bills (a policy for it is not enough: \
                 hidden would look like deleted). Its rights on columns stay as they are",
            )
            .fix(Place::Source, "ALTER ROLE daybook_consumer BYPASSRLS;"),
        ],
    }
    })
}

pub fn partitions(tables: &[Attached]) -> Vec<Finding> {
    each(tables, |table| match table.partitions_changed {
        false => Vec::new(),
        true => vec![
            Finding::warning(
                "partitions",
                subject(table),
                "partitions came or went, and rows with them, without any event; a consumer notices that by itself",
            )
            .fix(Place::Shell, "daybook drain"),
        ],
    })
}

pub fn inheriting(tables: &[Attached]) -> Vec<Finding> {
    each(tables, |table| {
        let finding = |child: &String| {
            let problem =
                format!("{child} inherits from it: what is written there fires no trigger of it, and is lost");
            Finding::error("inheriting_tables", subject(table), problem)
                .fix(Place::Source, format!("ALTER TABLE {child} NO INHERIT {};", table.name))
        };
        table.inheriting_tables.iter().map(finding).collect()
    })
}

/// Rows from before it was attached.
pub fn backfill(tables: &[Attached]) -> Vec<Finding> {
    each(tables, |table| {
        match !table.was_enqueued && table.has_rows && !table.is_being_enqueued && !table.is_suspended {
            false => Vec::new(),
            true => vec![
                Finding::info(
                    "backfill",
                    subject(table),
                    "was never enqueued as a whole: bills from before it was attached are posted only when they change",
                )
                .fix(Place::Shell, format!("daybook backfill {}", table.reference_type)),
            ],
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Attached {
        Attached {
            reference_type: "LAB".into(),
            name: "public.lab".into(),
            relation_name: "public.lab".into(),
            is_there: true,
            key_columns: vec!["id".into()],
            filter_columns: vec!["it's".into()],
            capture_is_whole: true,
            truncate_is_whole: true,
            has_function: true,
            function_is_ours: Some(true),
            ..Attached::default()
        }
    }

    const ATTACH: &str = "SELECT daybook.attach('public.lab', 'LAB', ARRAY['id']::text[], ARRAY['it''s']::text[]);";

    #[test]
    fn each_way_of_being_captured_badly_has_its_cure() {
        type Check = fn(&[Attached]) -> Vec<Finding>;
        let wrong =
            |name: &str, is_clone| vec![CaptureTrigger { table: "public.lab".into(), name: name.into(), is_clone }];
        let dropped_twice = format!("BEGIN;\nDROP TRIGGER \"daybook_capture\" ON public.lab;\n{ATTACH}\nCOMMIT;");
        let truncate = format!(
            "BEGIN;\nDROP TRIGGER \"daybook_capture_truncate\" ON public.lab;\n{ATTACH}\nSELECT daybook.reconcile('public.lab');\nCOMMIT;"
        );
        let give_up = "SELECT daybook.detach(relation, discard_unfinished => true) FROM daybook.sync_source WHERE reference_type = 'LAB';";
        let table: Vec<(Check, Attached, &str)> = vec![
            (triggers, whole(), ""),
            (triggers, Attached { capture_is_whole: false, ..whole() }, ATTACH),
            (triggers, Attached { truncate_is_whole: false, ..whole() }, ATTACH),
            (triggers, Attached { wrong_triggers: wrong("daybook_capture", false), ..whole() }, &dropped_twice),
            (triggers, Attached { wrong_triggers: wrong("daybook_capture_truncate", false), ..whole() }, &truncate),
            (triggers, Attached { wrong_triggers: wrong("daybook_capture", true), ..whole() }, ""),
            (function, whole(), ""),
            (function, Attached { has_function: false, function_is_ours: None, ..whole() }, ATTACH),
            (suspended, Attached { is_suspended: true, ..whole() }, "SELECT daybook.resume('public.lab');"),
            (privileges, whole(), ""),
            (
                privileges,
                Attached {
                    unreadable_schema: Some("\"S\"".into()),
                    unreadable_columns: vec!["a\"b".into()],
                    ..whole()
                },
                "GRANT USAGE ON SCHEMA \"S\" TO daybook_consumer;\nGRANT SELECT (\"a\"\"b\") ON public.lab TO daybook_consumer;",
            ),
            (row_security, Attached { has_row_security: true, ..whole() }, ""),
            (
                row_security,
                Attached { row_security_refuses: true, ..whole() },
                "ALTER ROLE daybook_consumer BYPASSRLS;",
            ),
            (partitions, Attached { partitions_changed: true, ..whole() }, "daybook drain"),
            (
                inheriting,
                Attached { inheriting_tables: vec!["kid".into()], ..whole() },
                "ALTER TABLE kid NO INHERIT public.lab;",
            ),
            (backfill, Attached { has_rows: true, ..whole() }, "daybook backfill LAB"),
            (backfill, Attached { has_rows: true, is_being_enqueued: true, ..whole() }, ""),
            (backfill, Attached { has_rows: true, was_enqueued: true, ..whole() }, ""),
            (dropped, whole(), ""),
            (dropped, Attached { is_there: false, ..whole() }, give_up),
            (dropped, Attached { is_there: false, namesake: Some("public.lab".into()), ..whole() }, ATTACH),
            (triggers, Attached { is_there: false, capture_is_whole: false, ..whole() }, ""),
        ];
        for (check, attached, fix) in table {
            let fixes: String = check(std::slice::from_ref(&attached)).into_iter().map(|finding| finding.fix).collect();
            assert_eq!(fixes, fix, "{attached:?}");
        }
    }
}
