//! What `daybook verify` finds: whatever was changed past the guards, located to the entry.

use daybook::verify::{Kind, verify};

use crate::chain::{consumer_session, five_blocks, forged, head_of, look, seal, tamper, told};
use crate::harness::Clinic;

#[tokio::test]
async fn whatever_is_changed_after_it_was_sealed_is_found_and_located_to_the_entry() {
    let header = |set: &str| format!("UPDATE ledger.journal_entries SET {set} WHERE id = 3");
    let swap = |table: &str, id: &str| {
        format!(
            "UPDATE ledger.{table} SET {id} = -3 WHERE {id} = 2; UPDATE ledger.{table} SET {id} = 2 WHERE {id} = 4; UPDATE ledger.{table} SET {id} = 4 WHERE {id} = -3"
        )
    };
    let all_of_three = "tampered 3 3";
    let table: Vec<(&str, String, Vec<&str>)> = vec![
        ("an amount, in balance", format!("UPDATE ledger.journal_lines SET debit = debit * 2, credit = credit * 2 WHERE entry_id = 3; {}", header("total = total * 2")), vec![all_of_three]),
        ("an account", "UPDATE ledger.journal_lines SET account_code = '1100' WHERE entry_id = 3 AND line_no = 1".into(), vec![all_of_three]),
        ("the effective date", header("effective_date = effective_date - 1"), vec![all_of_three]),
        ("the posting date", header("posting_date = posting_date + 1"), vec![all_of_three]),
        ("the time", header("posted_at = posted_at + interval '1 microsecond'"), vec![all_of_three]),
        ("who caused it", header("session_user_name = 'nobody'"), vec![all_of_three]),
        ("a dimension", "UPDATE ledger.journal_lines SET department = 'X' WHERE entry_id = 3 AND line_no = 2".into(), vec![all_of_three]),
        ("an amount, out of balance", "UPDATE ledger.journal_lines SET debit = 31 WHERE entry_id = 3 AND debit > 0".into(), vec![all_of_three, "unbalanced 3 -"]),
        ("a rule that is not known", header("rule_hash = 'x'"), vec![all_of_three, "provenance 3 -"]),
        ("deleted with its lines", "DELETE FROM ledger.journal_lines WHERE entry_id = 3; DELETE FROM ledger.journal_entries WHERE id = 3".into(), vec![all_of_three, "status - -"]),
        ("deleted without its lines", "DELETE FROM ledger.journal_entries WHERE id = 3".into(), vec![all_of_three, "orphan_line 3 -", "status - -"]),
        ("its lines deleted", "DELETE FROM ledger.journal_lines WHERE entry_id = 3".into(), vec![all_of_three, "unbalanced 3 -"]),
        ("its lines exchanged", "UPDATE ledger.journal_lines SET line_no = 3 - line_no + 10 WHERE entry_id = 3; UPDATE ledger.journal_lines SET line_no = line_no - 10 WHERE entry_id = 3".into(), vec![all_of_three]),
        ("two ids swapped", format!("{}; {}", swap("journal_entries", "id"), swap("journal_lines", "entry_id")), vec!["tampered 2 2", "tampered 4 4", "status 4 -", "status 2 -"]),
        ("inserted below the mark", forged(0), vec!["tampered 0 -"]),
        ("an unknown account on both sides", "UPDATE ledger.journal_lines SET account_code = '0815' WHERE entry_id = 3".into(), vec![all_of_three, "provenance 3 -"]),
        ("the status", "UPDATE ledger.sync_master_status SET live_entry_ids = '{}' WHERE reference_id = '3'".into(), vec!["status 3 -"]),
        ("the status deleted", "DELETE FROM ledger.sync_master_status WHERE reference_id = '3'".into(), vec!["status 3 -"]),
        ("a block deleted", "DELETE FROM ledger.blocks WHERE block_number = 3".into(), vec!["tampered - -", "tampered 3 -"]),
        ("the last block deleted", "DELETE FROM ledger.blocks WHERE block_number = 5".into(), vec!["tampered 5 -"]),
        ("a block's entries exchanged for others", "UPDATE ledger.blocks SET entry_ids = '{4}', lowest_entry_id = 4, highest_entry_id = 4 WHERE block_number = 3".into(), vec!["tampered - -", "tampered 4 3", "tampered 3 -"]),
        ("two blocks swapped", "UPDATE ledger.blocks SET block_number = 9 WHERE block_number = 3; UPDATE ledger.blocks SET block_number = 3 WHERE block_number = 4; UPDATE ledger.blocks SET block_number = 4 WHERE block_number = 9".into(), vec![]),
        ("a block's hashes", "UPDATE ledger.blocks SET entry_hashes = set_byte(entry_hashes, 0, 255 - get_byte(entry_hashes, 0)) WHERE block_number = 3".into(), vec!["tampered - -", "tampered 3 3"]),
        ("the mark of a block", "UPDATE ledger.blocks SET passed_entry_id = passed_entry_id + 0 + 100 WHERE block_number = 2".into(), vec![]),
    ];
    let clinic = five_blocks().await;
    let keep = "CREATE SCHEMA kept; CREATE TABLE kept.e AS TABLE ledger.journal_entries; CREATE TABLE kept.l AS TABLE ledger.journal_lines;
                CREATE TABLE kept.b AS TABLE ledger.blocks; CREATE TABLE kept.s AS TABLE ledger.sync_master_status";
    clinic.accountant.batch_execute(keep).await.expect("keeps");
    let restore = "DELETE FROM ledger.journal_entries; DELETE FROM ledger.journal_lines; DELETE FROM ledger.blocks; DELETE FROM ledger.sync_master_status;
                   INSERT INTO ledger.journal_entries TABLE kept.e; INSERT INTO ledger.journal_lines TABLE kept.l; INSERT INTO ledger.blocks TABLE kept.b;
                   INSERT INTO ledger.sync_master_status TABLE kept.s";
    for (what, sql, expected) in &table {
        tamper(&clinic, sql).await;
        let report = look(&clinic, None).await;
        match expected.is_empty() {
            true => assert!(told(&report).iter().any(|finding| finding.starts_with("tampered")), "{what}: {report:?}"),
            false => assert_eq!(told(&report), *expected, "{what}: {report:?}"),
        }
        for finding in
            report.findings.iter().filter(|finding| finding.entry_id == Some(3) && finding.kind != Kind::OrphanLine)
        {
            let is_gone = what.starts_with("deleted") || what.contains("block");
            assert!(
                is_gone || finding.bill.as_ref().is_some_and(|bill| bill.reference_id == "3"),
                "{what}: {finding:?}"
            );
        }
        tamper(&clinic, restore).await;
        assert!(look(&clinic, None).await.is_sound(), "restored after: {what}");
    }
}

#[tokio::test]
async fn a_chain_that_was_rewritten_with_all_its_hashes_is_found_by_a_published_head() {
    let clinic = five_blocks().await;
    let heads = head_of(&clinic).await;
    let report = look(&clinic, Some(&heads)).await;
    assert!(report.is_sound() && report.heads_compared == 5, "{report:?}");
    // From entry 3 on, as a superuser would who has this program: the chain is sealed anew by it.
    let rewrite = "UPDATE ledger.journal_entries SET effective_date = effective_date - 1 WHERE id = 3;
                   DELETE FROM ledger.blocks WHERE block_number >= 3; UPDATE ledger.chains SET passed_entry_id = 2, noted_entry_id = NULL, noted_xid = NULL";
    tamper(&clinic, rewrite).await;
    assert_eq!(seal(&clinic).await, 3);
    assert!(look(&clinic, None).await.is_sound(), "by itself it is whole");
    let report = look(&clinic, Some(&heads)).await;
    assert_eq!(told(&report), ["tampered - 3", "tampered - -"], "{report:?}");
    assert!(report.findings[0].message.contains("rewritten at or after entry number 3"), "{report:?}");
}

#[tokio::test]
async fn an_entry_that_somebody_else_inserts_above_the_mark_is_found_by_what_it_lacks() {
    let clinic = five_blocks().await;
    let entry = forged(6)
        .split("INSERT INTO ledger.sync_master_status")
        .next()
        .expect("the entry")
        .trim()
        .trim_end_matches(';')
        .replace("\"99\"", "\"99\", \"rule_hash\": \"x\"");
    tamper(&clinic, &entry).await;
    let report = look(&clinic, None).await;
    assert_eq!(told(&report), ["provenance 6 -", "status 6 -"], "{report:?}");
    assert_eq!(report.unsealed, 1);
}

#[tokio::test]
async fn a_guard_that_is_off_changed_or_bypassed_is_found() {
    let clinic = Clinic::new().await;
    for (what, sql, mend) in [
        (
            "off",
            "ALTER TABLE ledger.journal_lines DISABLE TRIGGER append_only",
            "ALTER TABLE ledger.journal_lines ENABLE ALWAYS TRIGGER append_only",
        ),
        (
            "not always",
            "ALTER TABLE ledger.blocks ENABLE TRIGGER chain_block",
            "ALTER TABLE ledger.blocks ENABLE ALWAYS TRIGGER chain_block",
        ),
        ("bypassed", "CREATE TABLE public.more () INHERITS (ledger.journal_lines)", "DROP TABLE public.more"),
        (
            "changed",
            "CREATE OR REPLACE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            "",
        ),
    ] {
        clinic.accountant.batch_execute(sql).await.expect("changes");
        let report = look(&clinic, None).await;
        assert_eq!(told(&report), ["guard - -"], "{what}: {report:?}");
        clinic.accountant.batch_execute(mend).await.expect("mends");
    }
}

#[tokio::test]
async fn an_entry_in_a_period_that_was_closed_before_is_found_and_one_from_before_is_none() {
    let clinic = five_blocks().await;
    let days = "SELECT ledger.close_period('main', min(posting_date), max(posting_date), 'soft', 'test', true) FROM ledger.journal_entries";
    clinic.accountant.batch_execute(days).await.expect("closes");
    assert!(look(&clinic, None).await.is_sound());
    let later = "UPDATE ledger.journal_entries SET posted_at = clock_timestamp() WHERE id = 2";
    tamper(&clinic, later).await;
    assert_eq!(told(&look(&clinic, None).await), ["tampered 2 2", "period 2 -"]);
    tamper(&clinic, "DELETE FROM ledger.periods").await;
    assert!(told(&look(&clinic, None).await).contains(&"period - -".to_string()));
}

/// The nightly reconciliation verifies with a session whose plans are made for keys, and leaves it as it was.
#[tokio::test]
async fn a_consumers_session_can_verify_and_keeps_its_settings() {
    let clinic = five_blocks().await;
    let session = consumer_session(&clinic).await;
    let report = verify(&session, "main", None).await.expect("verifies");
    assert!(report.is_sound() && report.entries == 5, "{report:?}");
    assert_eq!(session.query_one("SHOW enable_seqscan", &[]).await.expect("asks").get::<_, String>(0), "off");
}
