//! The bugs that `scripts/planted` plants, each a patch, which must not rot.

use std::path::Path;

/// A patch as pairs of what stands there and what would, with the file.
fn hunks(patch: &str) -> Vec<(String, String, String)> {
    let mut hunks: Vec<(String, String, String)> = Vec::new();
    let mut file = "";
    for line in patch.lines() {
        if let Some(name) = line.strip_prefix("+++ b/") {
            file = name;
        } else if line.starts_with("@@ ") {
            hunks.push((file.to_string(), String::new(), String::new()));
        } else if let (Some((_, before, after)), false) = (hunks.last_mut(), line.starts_with("---")) {
            let (sign, text) = line.split_at_checked(1).unwrap_or((" ", ""));
            if sign != "+" {
                *before += &format!("{text}\n");
            }
            if sign != "-" {
                *after += &format!("{text}\n");
            }
        }
    }
    hunks
}

#[test]
fn every_planted_bug_still_has_its_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut patches = 0;
    for entry in std::fs::read_dir(root.join("tests/simulator/planted")).expect("lists").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let patch = std::fs::read_to_string(entry.path()).expect("reads");
        let hunks = hunks(&patch);
        assert!(!hunks.is_empty(), "{name} changes something");
        for (file, before, after) in hunks {
            let text = std::fs::read_to_string(root.join(&file)).expect("reads");
            assert_eq!(text.matches(&before).count(), 1, "{name} finds its place in {file}:\n{before}");
            assert_ne!(before, after, "{name} changes something");
        }
        patches += 1;
    }
    assert!(patches >= 4);
}
