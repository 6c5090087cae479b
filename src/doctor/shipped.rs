//! The functions that this program would install, taken from its own files of SQL, for comparison with a catalog. PostgreSQL
//! keeps the text between the quotes as it was written, so that comparing texts is exact.

use super::facts::Function;

/// What a function is known by, and what decides what it does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Essence {
    pub name: String,
    /// Types of what goes in, as the catalog spells them.
    pub arguments: String,
    pub body: String,
    pub language: String,
    pub security_definer: bool,
    pub volatility: char,
    pub settings: Vec<String>,
}

impl Essence {
    pub fn of(function: &Function) -> Essence {
        let mut settings = function.settings.clone();
        settings.sort();
        Essence {
            name: function.name.clone(),
            arguments: function.arguments.clone(),
            body: function.body.clone(),
            language: function.language.clone(),
            security_definer: function.security_definer,
            volatility: function.volatility.chars().next().unwrap_or_default(),
            settings,
        }
    }
}

/// The functions that a file of SQL creates. A statement that looks like one and cannot be understood is an error, so that
/// nothing passes unseen.
pub fn functions(sql: &str) -> Result<Vec<Essence>, String> {
    let mut found = Vec::new();
    let (mut code, mut body) = (String::new(), None);
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        if rest.starts_with("--") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
            continue;
        }
        if let Some((text, after)) = quoted(rest) {
            if code.trim_end().ends_with(" AS") || code.trim_end().ends_with("\nAS") {
                body = Some(text);
            }
            code.push_str(" '' ");
            rest = after;
            continue;
        }
        rest = &rest[first.len_utf8()..];
        if first != ';' {
            code.push(first);
            continue;
        }
        let statement = code.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(declared) = statement.strip_prefix("CREATE OR REPLACE FUNCTION ") {
            found.push(essence(declared, body.take()).ok_or(format!("cannot understand: {statement}"))?);
        }
        code.clear();
        body = None;
    }
    Ok(found)
}

/// A quoted text at the beginning, and what follows it.
fn quoted(sql: &str) -> Option<(String, &str)> {
    if let Some(mut rest) = sql.strip_prefix('\'') {
        let mut text = String::new();
        loop {
            let (before, after) = rest.split_once('\'')?;
            text.push_str(before);
            match after.strip_prefix('\'') {
                Some(after) => {
                    text.push('\'');
                    rest = after;
                }
                None => return Some((text, after)),
            }
        }
    }
    let after = sql.strip_prefix('$')?;
    let (tag, _) = after.split_once('$')?;
    if !tag.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') || tag.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let quote = format!("${tag}$");
    let (text, after) = sql[quote.len()..].split_once(&quote)?;
    Some((text.to_string(), after))
}

/// `declared`: from the name on, with single spaces and empty quotes.
fn essence(declared: &str, body: Option<String>) -> Option<Essence> {
    let (name, arguments) = declared.split_once('(')?;
    let name = name.trim().rsplit('.').next()?;
    let (arguments, _) = arguments.split_once(')')?;
    let arguments = arguments.split(',').filter_map(argument_type).collect::<Vec<_>>().join(", ");
    let language = declared.split_once(" LANGUAGE ")?.1.split(' ').next()?;
    let clauses = declared.split_once(" LANGUAGE ")?.1;
    let volatility = match (clauses.contains("IMMUTABLE"), clauses.contains("STABLE")) {
        (true, _) => 'i',
        (_, true) => 's',
        _ => 'v',
    };
    let mut settings = Vec::new();
    for setting in clauses.split(" SET ").skip(1) {
        let (name, value) = setting.split_once('=')?;
        let value = value.split(" AS ").next()?.trim();
        settings.push(format!("{}={value}", name.trim()));
    }
    settings.sort();
    Some(Essence {
        name: name.into(),
        arguments,
        body: body?,
        language: language.into(),
        security_definer: clauses.contains("SECURITY DEFINER"),
        volatility,
        settings,
    })
}

/// The type of an argument as the catalog spells it; `None` for what only comes out.
fn argument_type(declared: &str) -> Option<String> {
    let declared = declared.trim();
    if declared.is_empty() || declared.starts_with("OUT ") {
        return None;
    }
    let declared = declared.split_once(" DEFAULT ").map_or(declared, |(before, _)| before);
    let of = match declared.split_once(' ') {
        Some(("double", _)) | None => declared,
        Some((_, of)) => of,
    };
    Some(match of {
        "timestamptz" => "timestamp with time zone".into(),
        "timestamp" => "timestamp without time zone".into(),
        of => of.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Side;
    use crate::install::shipped_functions;

    #[test]
    fn a_function_is_taken_apart_whatever_stands_in_its_quotes() {
        let sql = "-- CREATE OR REPLACE FUNCTION not this;\n\
            CREATE OR REPLACE FUNCTION x.f(a text DEFAULT 'it''s; AS') RETURNS text\nLANGUAGE plpgsql STABLE SECURITY DEFINER \
            SET search_path = pg_catalog, pg_temp\nSET enable_seqscan = off AS $b$ BEGIN; EXECUTE 'CREATE OR REPLACE FUNCTION y'; $$ $1; END $b$;\n\
            DO $$ BEGIN PERFORM 1; END $$;\n\
            CREATE OR REPLACE FUNCTION x.g(int) RETURNS text LANGUAGE sql\n    AS 'SELECT ''a'' || $1';";
        let found = functions(sql).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].name.as_str(), found[0].language.as_str(), found[0].volatility), ("f", "plpgsql", 's'));
        assert_eq!((found[0].arguments.as_str(), found[1].arguments.as_str()), ("text", "int"));
        assert!(found[0].security_definer && found[0].body.contains("$$ $1; END"));
        assert_eq!(found[0].settings, ["enable_seqscan=off", "search_path=pg_catalog, pg_temp"]);
        assert_eq!((found[1].body.as_str(), found[1].volatility), ("SELECT 'a' || $1", 'v'));
        assert!(functions("CREATE OR REPLACE FUNCTION x.h() RETURNS int LANGUAGE sql RETURN 1;").is_err());
    }

    #[test]
    fn every_function_of_our_files_is_understood() {
        for side in [Side::Source, Side::Ledger] {
            for sql in shipped_functions(side) {
                let starts = sql.lines().filter(|line| line.starts_with("CREATE OR REPLACE FUNCTION ")).count();
                assert_eq!(functions(sql).unwrap().len(), starts, "{sql}");
                assert!(!sql.contains("CREATE FUNCTION"), "functions are replaced, so that installing twice works");
            }
        }
    }
}
