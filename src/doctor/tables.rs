//! Attached tables: whether each is captured, and can be read and judged by its rule. Pure.

use super::facts::{Attached, CaptureTrigger, KeyColumn, RuleFacts};
use super::finding::{Finding, Place};
use crate::capture::fit::Misfit;
use crate::database::{quote_identifier, quote_literal};

/// Findings on every table; a table that is not there has those of [`dropped`] alone.
fn each(tables: &[Attached], see: impl Fn(&Attached) -> Vec<Finding>) -> Vec<Finding> {
    tables.iter().filter(|table| table.is_there).flat_map(see).collect()
}

fn subject(table: &Attached) -> String {
    format!("{} ({})", table.reference_type, table.name)
}

fn array(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| quote_literal(name)).collect();
    format!("ARRAY[{}]::text[]", names.join(", "))
}

fn attach(table: &Attached, relation: &str, key: &[String], filter: &[String]) -> String {
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

fn reconcile(table: &Attached) -> String {
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

/// The key is unique, not null, and of the types that it had.
pub fn keys(tables: &[Attached]) -> Vec<Finding> {
    each(tables, |table| {
        let error = |problem: String| Finding::error("keys", subject(table), problem);
        let mut findings = Vec::new();
        let name = &table.name;
        for KeyColumn { column, attached_type, present_type, is_same_type, is_not_null, can_be_key } in &table.keys {
            let quoted = quote_identifier(column);
            if !can_be_key {
                findings.push(
                    error(format!("key column {column} is of type {present_type} now, whose values have no one text that names them"))
                        .fix(Place::Source, format!(
                            "ALTER TABLE {name} ALTER COLUMN {quoted} TYPE {attached_type} USING {quoted}::{attached_type};"
                        )),
                );
            } else if !is_same_type {
                findings.push(
                    Finding::warning("keys", subject(table), format!(
                        "key column {column} was {attached_type} when it was attached, and is {present_type}: it is captured without \
                         keys, and reconciled each time, until that is taken up (`daybook run` does, at the next change)"
                    ))
                    .fix(Place::Source, format!(
                        "SELECT daybook.refresh_capture({});\n{}",
                        quote_literal(&table.reference_type),
                        reconcile(table)
                    )),
                );
            }
            if !is_not_null {
                findings.push(
                    error(format!("key column {column} may be null: such a row has no name"))
                        .fix(Place::Source, format!("ALTER TABLE {name} ALTER COLUMN {quoted} SET NOT NULL;")),
                );
            }
        }
        if !table.has_unique_index && table.keys.len() == table.key_columns.len() {
            let columns: Vec<String> = table.key_columns.iter().map(|name| quote_identifier(name)).collect();
            findings.push(
                error(format!(
                    "no unique index covers its key ({}): two rows may be one bill",
                    table.key_columns.join(", ")
                ))
                .fix(Place::Source, format!("ALTER TABLE {name} ADD UNIQUE ({});", columns.join(", "))),
            );
        }
        findings
    })
}

/// What the rule maps is there, watched and harmless to read. A column that was renamed is known by the consumer's privilege.
pub fn columns(tables: &[Attached]) -> Vec<Finding> {
    each(tables, |table| {
        let RuleFacts::InForce { rules, misfits } = &table.rule else {
            return Vec::new();
        };
        let is_listed = |name: &&String| !table.key_columns.contains(name) && !table.filter_columns.contains(name);
        let renamed: Vec<&String> = table.granted_columns.iter().filter(is_listed).collect();
        let present = |names: &[String]| -> Vec<String> {
            names.iter().filter(|name| table.columns.contains(name)).cloned().collect()
        };
        let wanted_filter = || {
            let mut filter = present(&table.filter_columns);
            for name in rules.columns().iter().map(|column| &column.name) {
                if table.columns.contains(name) && !filter.contains(name) {
                    filter.push(name.clone());
                }
            }
            filter
        };
        let mut findings = Vec::new();
        let mut is_watched = true;
        for (misfit, told) in misfits {
            let now_called = match renamed.as_slice() {
                [one] => format!(" (it may be called {one} now)"),
                _ => String::new(),
            };
            let error = || Finding::error("columns", subject(table), told.clone() + &now_called);
            let plain = || Finding::error("columns", subject(table), told.clone());
            findings.push(match misfit {
                Misfit::Dropped => continue,
                Misfit::KeyGone(name) => {
                    let new = match renamed.as_slice() {
                        [one] => (*one).clone(),
                        _ => "NEW_NAME".into(),
                    };
                    let key: Vec<String> = table
                        .key_columns
                        .iter()
                        .map(|key| if key == name { new.clone() } else { key.clone() })
                        .collect();
                    error().fix(Place::Source, attach(table, &table.name, &key, &wanted_filter()))
                }
                Misfit::Unsafe(name) => {
                    let column = quote_identifier(name);
                    plain().fix(
                        Place::Source,
                        format!("ALTER TABLE {} ALTER COLUMN {column} TYPE text USING {column}::text;", table.name),
                    )
                }
                Misfit::MappedGone(_) => {
                    let file = format!("{}.toml", table.reference_type.to_lowercase());
                    let show = match rules.versions() {
                        [_] => format!("daybook rules show {} > {file} && ", table.reference_type),
                        _ => String::new(), // every version of it is a file of its own
                    };
                    error().fix(Place::Shell, format!(
                        "{show}${{EDITOR:-vi}} {file} && daybook attach {file} && daybook rules apply --replace {file}"
                    ))
                }
                Misfit::NotWatched(_) if is_watched => {
                    is_watched = false;
                    plain()
                        .fix(Place::Source, attach(table, &table.name, &present(&table.key_columns), &wanted_filter()))
                }
                Misfit::NotWatched(_) => continue,
            });
        }
        findings
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

/// A rule is in force, and can be understood.
pub fn rules(tables: &[Attached], is_built_in: impl Fn(&str) -> bool) -> Vec<Finding> {
    each(tables, |table| {
        let of = &table.reference_type;
        let file = format!("{}.toml", of.to_lowercase());
        let error = |problem: String| Finding::error("rules", subject(table), problem);
        match &table.rule {
            RuleFacts::None => {
                let fix = match is_built_in(of) {
                    true => format!("daybook rules show --built-in {of} > {file} && daybook rules apply {file}"),
                    false => format!("daybook rules apply {file} # after writing it"),
                };
                vec![
                    error(format!("no rule {of} is in force in the book, so that its bills are not posted"))
                        .fix(Place::Shell, fix),
                ]
            }
            RuleFacts::Unusable(problem) => {
                let fix = match is_built_in(of) {
                    true => {
                        format!("daybook rules show --built-in {of} > {file} && daybook rules apply --replace {file}")
                    }
                    false => format!("daybook rules apply --replace {file} # after correcting it"),
                };
                vec![error(format!("the rule in force cannot be used: {problem}")).fix(Place::Shell, fix)]
            }
            RuleFacts::Unknown | RuleFacts::InForce { .. } => Vec::new(),
        }
    })
}

/// Every account that a rule may post to is in the chart. `known`: accounts that daybook ships, as lines of CSV.
pub fn accounts(tables: &[Attached], chart: &[String], book: &str, known: &str) -> Vec<Finding> {
    each(tables, |table| {
        let RuleFacts::InForce { rules, .. } = &table.rule else {
            return Vec::new();
        };
        let mut missing: Vec<&str> = rules.versions().iter().flat_map(|rule| rule.accounts()).collect();
        missing.retain(|account| !chart.iter().any(|there| there == account));
        missing.sort_unstable();
        missing.dedup();
        let finding = |account: &str| {
            let problem = format!(
                "its rule posts to account {account}, which is not in the chart of book {book}: such bills are parked"
            );
            let finding = Finding::error("accounts", subject(table), problem.clone());
            match known.lines().skip(1).find(|line| line.split(',').next() == Some(account)) {
                Some(line) => {
                    let values: Vec<String> = line.split(',').map(quote_literal).collect();
                    finding.fix(Place::Ledger, format!(
                        "INSERT INTO ledger.accounts (book, account_code, account_name, account_type) VALUES ({}, {}) ON CONFLICT DO NOTHING;",
                        quote_literal(book),
                        values.join(", ")
                    ))
                }
                // Its type is an accountant's to say.
                None => finding.fix(Place::Shell, format!(
                    "printf 'account_code,account_name,account_type\\n{account},Account {account},income\\n' > account.csv && \
                     ${{EDITOR:-vi}} account.csv && daybook accounts import account.csv"
                )),
            }
        };
        missing.into_iter().map(finding).collect()
    })
}
