//! What each role may, by the catalog's word, over everything that there is in our schemas: what is added later is met here, too.

use crate::harness::{Clinic, refused};

/// Tables, views, columns, sequences, functions and schemas of ours with who may what, a line each; owners left out.
const GRANTS: &str = "SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
    SELECT concat_ws(' ', grantee, name, string_agg(DISTINCT privilege, ',')) FROM (
        SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END, o.name, lower(a.privilege_type)
        FROM (SELECT nspname::text, nspacl, nspowner, 'n' FROM pg_namespace WHERE nspname IN ('daybook', 'ledger')
              UNION ALL
              SELECT format('%s.%s', relnamespace::regnamespace, relname), relacl, relowner,
                     CASE relkind WHEN 'S' THEN 's' ELSE 'r' END
              FROM pg_class WHERE relnamespace IN ('daybook'::regnamespace, 'ledger'::regnamespace) AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
                AND relname !~ '^sync_audit_log_[0-9]'
              UNION ALL
              SELECT format('%s.%s(%s)', c.relnamespace::regnamespace, c.relname, t.attname), t.attacl, c.relowner, 'c'
              FROM pg_attribute AS t JOIN pg_class AS c ON c.oid = t.attrelid
              WHERE c.relnamespace IN ('daybook'::regnamespace, 'ledger'::regnamespace) AND t.attacl IS NOT NULL
              UNION ALL
              SELECT format('%s.%s()', pronamespace::regnamespace, proname), proacl, proowner, 'f'
              FROM pg_proc WHERE pronamespace IN ('daybook'::regnamespace, 'ledger'::regnamespace)) AS o (name, acl, owner, kind)
        CROSS JOIN LATERAL aclexplode(coalesce(o.acl, acldefault(o.kind::\"char\", o.owner))) AS a
        WHERE a.grantee <> o.owner) AS g (grantee, name, privilege)
    GROUP BY grantee, name) AS lines (line)";

#[tokio::test]
async fn every_right_in_our_schemas_is_one_that_is_written_down() {
    let clinic = Clinic::new().await;
    let expected = include_str!("hostile/grants.txt");
    let actual = clinic.text(GRANTS).await;
    let (expected, actual): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), actual.lines().collect());
    let surplus: Vec<_> = actual.iter().filter(|line| !expected.contains(line)).collect();
    let missing: Vec<_> = expected.iter().filter(|line| !actual.contains(line)).collect();
    assert!(surplus.is_empty() && missing.is_empty(), "not written down: {surplus:#?}\nnot granted: {missing:#?}");
    for role in ["daybook_consumer", "daybook_reader", "daybook_controller", "daybook_cashier"] {
        let more = format!(
            "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolcanlogin OR rolreplication OR rolbypassrls
                    OR EXISTS (SELECT FROM pg_auth_members WHERE member = r.oid)
                    OR EXISTS (SELECT FROM pg_namespace AS n WHERE n.nspname IN ('daybook', 'ledger') AND has_schema_privilege(r.oid, n.oid, 'CREATE'))
                    OR has_database_privilege(r.oid, current_database(), 'CREATE')
             FROM pg_roles AS r WHERE rolname = '{role}'"
        );
        assert_eq!(clinic.text(&more).await, "false", "{role}");
    }
}

/// What a role may by the catalog, PUBLIC and memberships included.
const REACH: &str = "SELECT coalesce(string_agg(what, ', '), '') FROM (
    SELECT relname::text FROM pg_class
    WHERE relnamespace IN ('daybook'::regnamespace, 'ledger'::regnamespace) AND relkind IN ('r', 'p', 'v', 'm', 'f')
      AND (has_table_privilege('desk', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
           OR has_any_column_privilege('desk', oid, 'SELECT, INSERT, UPDATE, REFERENCES'))
    UNION ALL SELECT relname FROM pg_class
    WHERE relnamespace IN ('daybook'::regnamespace, 'ledger'::regnamespace) AND CASE relkind WHEN 'S' THEN has_sequence_privilege('desk', oid, 'USAGE, SELECT, UPDATE') END
    UNION ALL SELECT proname FROM pg_proc
    WHERE pronamespace IN ('daybook'::regnamespace, 'ledger'::regnamespace) AND has_function_privilege('desk', oid, 'EXECUTE')
      AND NOT (prorettype = 'trigger'::regtype AND starts_with(proname, 'capture_'))
    UNION ALL SELECT nspname FROM pg_namespace WHERE nspname IN ('daybook', 'ledger') AND has_schema_privilege('desk', oid, 'USAGE, CREATE')
    UNION ALL SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'daybook_') AND pg_has_role('desk', oid, 'MEMBER')) AS reach (what)";

#[tokio::test]
async fn an_application_role_that_tries_everything_gets_nothing() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.drain().await;
    clinic.write("UPDATE lab_bills SET amount = 20").await;
    let own = "GRANT CREATE ON SCHEMA public TO desk; ALTER TABLE lab_bills OWNER TO desk; ANALYZE";
    for (variant, sql) in [("as a writer", ""), ("as the tables' owner", own)] {
        clinic.dba.batch_execute(sql).await.expect("changes");
        assert_eq!(clinic.text(REACH).await, "", "{variant}");
        let state = "SELECT md5(string_agg(t, '' ORDER BY t)) FROM (SELECT q::text FROM daybook.sync_queue AS q UNION ALL SELECT e::text FROM ledger.journal_entries AS e
                     UNION ALL SELECT s::text FROM ledger.sync_master_status AS s UNION ALL SELECT last_value::text FROM daybook.sync_queue_seq_seq
                     UNION ALL SELECT last_value::text FROM ledger.journal_entry_id) AS s (t)";
        let before = clinic.text(state).await;
        // Statements over every relation, sequence and function, by name and by number.
        let sql = "SELECT format(s.sql, c.oid::regclass, c.oid) FROM pg_class AS c, unnest(ARRAY['SELECT FROM %1$s', 'SELECT count(*) FROM %1$s', 'INSERT INTO %1$s DEFAULT VALUES',
                       'DELETE FROM %1$s', 'TRUNCATE %1$s', 'DO ''BEGIN LOCK TABLE %1$s IN ACCESS SHARE MODE; END''', 'COPY %1$s TO STDOUT', 'DROP TABLE %1$s', 'ALTER TABLE %1$s OWNER TO desk',
                       'CREATE TABLE public.child () INHERITS (%1$s)', 'COMMENT ON TABLE %1$s IS ''x''', 'GRANT ALL ON %1$s TO desk']) AS s (sql)
                   WHERE relnamespace IN ('daybook'::regnamespace, 'ledger'::regnamespace) AND relkind IN ('r', 'p', 'v')
                   UNION ALL SELECT format(s.sql, c.oid) FROM pg_class AS c, unnest(ARRAY['SELECT nextval(%s::regclass)', 'SELECT setval(%s::regclass, 1)', 'SELECT currval(%s::regclass)']) AS s (sql)
                   WHERE relnamespace IN ('daybook'::regnamespace, 'ledger'::regnamespace) AND relkind = 'S'
                   UNION ALL SELECT format('SELECT %s.%I(%s)', pronamespace::regnamespace, proname, (SELECT string_agg('NULL::' || format_type(t, NULL), ', ') FROM unnest(proargtypes) AS t))
                   FROM pg_proc WHERE pronamespace IN ('daybook'::regnamespace, 'ledger'::regnamespace) AND prorettype <> 'trigger'::regtype
                   UNION ALL SELECT format('CREATE TRIGGER t AFTER INSERT ON %s FOR EACH ROW EXECUTE FUNCTION %s.%I()', t.name, pronamespace::regnamespace, proname)
                   FROM pg_proc, unnest(ARRAY['lab_bills', 'fleeting']) AS t (name)
                   WHERE pronamespace IN ('daybook'::regnamespace, 'ledger'::regnamespace) AND prorettype = 'trigger'::regtype
                   UNION ALL SELECT format('SET ROLE %I', rolname) FROM pg_roles WHERE starts_with(rolname, 'daybook_')
                   UNION ALL SELECT format('GRANT %I TO desk', rolname) FROM pg_roles WHERE starts_with(rolname, 'daybook_')
                   UNION ALL SELECT unnest(ARRAY['CREATE TABLE daybook.x ()', 'CREATE FUNCTION daybook.key_text(varchar) RETURNS text LANGUAGE sql AS ''SELECT 1''',
                       'ALTER SCHEMA daybook RENAME TO theirs', 'DROP SCHEMA ledger CASCADE', 'SET session_replication_role = replica',
                       'SET SESSION AUTHORIZATION postgres', 'ALTER ROLE daybook_consumer LOGIN', 'ALTER FUNCTION daybook.capture_lab() OWNER TO desk',
                       'CREATE OR REPLACE FUNCTION daybook.capture_lab() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RETURN NULL; END''',
                       'CREATE PUBLICATION p FOR TABLE daybook.sync_queue', 'CREATE RULE r AS ON INSERT TO daybook.sync_queue DO INSTEAD NOTHING'])";
        let statements = clinic.dba.query(sql, &[]).await.expect("lists");
        assert!(statements.len() > 250, "{}", statements.len());
        clinic.write("CREATE TEMPORARY TABLE IF NOT EXISTS fleeting (id int)").await;
        for row in &statements {
            let statement: &str = row.get(0);
            let told = refused(&clinic.desk, statement).await;
            assert!(
                told.contains("ermission denied") || told.contains("must be") || told.contains("must have"),
                "{variant}: {statement}: {told}"
            );
        }
        assert_eq!(clinic.text(state).await, before, "{variant}: nothing of ours was touched");
        let seen = "SELECT (SELECT count(*) FROM pg_stats WHERE schemaname IN ('daybook', 'ledger'))
                         + (SELECT count(*) FROM pg_stat_activity WHERE usename <> 'desk' AND query <> '<insufficient privilege>')";
        assert_eq!(
            clinic.desk.query_one(seen, &[]).await.expect("looks").get::<_, i64>(0),
            0,
            "{variant}: statistics and queries of others"
        );
    }
    clinic.drain().await;
    clinic.assert_ledger_equals_bills().await;
}

#[tokio::test]
async fn our_own_roles_can_do_their_work_and_nothing_else() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A')").await;
    clinic.drain().await;
    clinic.dba.batch_execute("ALTER TABLE lab_bills ADD COLUMN diagnosis text").await.expect("adds");
    let nobody = [
        "UPDATE ledger.journal_entries SET total = 1",
        "DELETE FROM ledger.journal_lines",
        "TRUNCATE ledger.journal_entries",
        "ALTER TABLE ledger.journal_lines DISABLE TRIGGER ALL",
        "UPDATE ledger.books SET currency = 'EUR'",
        "DELETE FROM ledger.posting_rules",
        "INSERT INTO ledger.periods VALUES ('main', '2024-01-01', '2024-01-31', 'hard')",
        "INSERT INTO ledger.period_log (book, first_day, last_day, state, forced) VALUES ('main', '2024-01-01', '2024-01-31', 'open', false)",
        "UPDATE daybook.sync_configuration SET config_value = 'paused' WHERE config_key = 'posting'",
        "SELECT daybook.detach('lab_bills')",
        "SELECT daybook.suspend('lab_bills')",
        "SELECT daybook.attach('lab_bills', 'LAB', ARRAY['id'], ARRAY['amount'])",
        "SELECT daybook.resolve('LAB', '1', 'x')",
        "SELECT daybook.enqueue('LAB', '1')",
        "SELECT daybook.write_capture_function('lab_bills')",
        "UPDATE daybook.sync_source SET filter_columns = '{}'",
        "CREATE TABLE daybook.x ()",
        "CREATE FUNCTION ledger.x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION daybook.key_text(text) RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
        "SELECT diagnosis FROM lab_bills",
        "UPDATE lab_bills SET amount = 1",
        "DELETE FROM daybook.sync_audit_log",
        "UPDATE daybook.sync_audit_log SET outcome = 'posted'",
        "DROP TABLE daybook.sync_queue",
        "SET ROLE daybook_owner",
    ];
    let lookers = [
        "INSERT INTO daybook.sync_queue (source, reference_type, operation) VALUES ('main', 'LAB', 'truncate')",
        "DELETE FROM daybook.sync_queue",
        "UPDATE daybook.sync_alerts SET state = 'resolved'",
        "UPDATE ledger.sync_master_status SET state = 'current'",
        "INSERT INTO ledger.journal_entries DEFAULT VALUES",
        "SELECT nextval('ledger.journal_entry_id')",
        "SELECT amount FROM lab_bills",
        "SELECT daybook.raise_alert('A', 'b', 'info', 'c')",
    ];
    let others = [
        "SELECT ledger.close_period('main', '2024-01-01', '2024-01-31')",
        "DELETE FROM ledger.accounts",
        "SELECT ledger.apply_rule('main', 'LAB', 'x', replace => true)",
        "SELECT ledger.reopen_cash_day('main', 'main', '2024-03-05', 'x')",
        "INSERT INTO ledger.cash_counts (book, site, day, spell, count_no, account_code, counted) VALUES ('main', 'main', '2024-03-05', 1, 1, '1000', 1)",
    ];
    for role in ["daybook_consumer", "daybook_reader", "daybook_controller", "daybook_cashier"] {
        // As one who logs in as the role and nothing else.
        let is_looker = role != "daybook_consumer";
        let session = format!("SET SESSION AUTHORIZATION {role}");
        clinic.dba.batch_execute(&session).await.expect("becomes it");
        let statements = nobody
            .iter()
            .chain(lookers.iter().filter(|_| is_looker))
            .chain(others.iter().filter(|_| role != "daybook_controller"));
        for statement in statements {
            let told = refused(&clinic.dba, statement).await;
            assert!(
                told.contains("permission denied") || told.contains("must be owner"),
                "{role}: {statement}: {told}"
            );
        }
        clinic.dba.batch_execute("RESET SESSION AUTHORIZATION").await.expect("is itself again");
    }
    clinic.assert_ledger_equals_bills().await;
}

/// Who may look has a right to name the capture functions, and could put them on a table of their own. Such an event is one like
/// any other: the row says what the bill is.
#[tokio::test]
async fn an_event_that_somebody_forges_changes_no_bill() {
    let clinic = Clinic::new().await;
    clinic.write("INSERT INTO lab_bills (id, amount, invoice_number) VALUES (1, 10, 'A'), (2, 20, 'A')").await;
    clinic.drain().await;
    let forge = "SET SESSION AUTHORIZATION daybook_reader; CREATE TEMPORARY TABLE forged (id bigint, amount numeric);
        CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON forged FOR EACH ROW EXECUTE FUNCTION daybook.capture_lab();
        CREATE TRIGGER u AFTER TRUNCATE ON forged EXECUTE FUNCTION daybook.capture_lab();
        INSERT INTO forged VALUES (1, 99), (7, 99), (NULL, 99); DELETE FROM forged; TRUNCATE forged;
        RESET SESSION AUTHORIZATION";
    clinic.dba.batch_execute(forge).await.expect("forges");
    assert_ne!(clinic.text("SELECT count(*) FROM daybook.sync_queue").await, "0");
    clinic.drain().await;
    assert_eq!(clinic.ledger_text("SELECT count(*) FROM ledger.journal_entries").await, "2", "nothing was posted");
    clinic.assert_ledger_equals_bills().await;
}
