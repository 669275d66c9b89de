use model::config::ConfigFile;

use super::*;

fn config() -> Config {
    ConfigFile::defaults().unwrap().config
}

/// The answers, and all that was shown.
fn asked(
    words: &Words,
    before: Option<&Answers>,
    typed: &str,
) -> (miette::Result<Answers>, String) {
    let mut shown = Vec::new();
    let answers = Answers::ask(
        words,
        before,
        &config(),
        &mut Dialogue::with(typed.as_bytes(), &mut shown),
    );
    (answers, String::from_utf8(shown).unwrap())
}

fn words(given: [Option<&str>; 4]) -> Words {
    let [project, focus, criteria, proof] = given.map(|word| word.map(str::to_owned));
    Words {
        project,
        focus,
        criteria,
        proof,
    }
}

#[test]
fn all_four_questions_of_the_request() {
    let (answers, shown) = asked(&Words::default(), None, "1\n2\nthreshold\nall\n");
    insta::assert_snapshot!(shown);
    let answers = answers.unwrap();
    assert_eq!(
        answers.words(),
        ["ant-quic", "nat-traversal", "threshold", "all-evidence"]
    );
    assert_eq!(answers.project.origin, Origin::Interview);
}

#[test]
fn what_is_given_is_not_asked() {
    let given = words([Some("ant-quic"), None, Some("all-pass"), Some("logs")]);
    let (answers, shown) = asked(&given, None, "1\n");
    assert!(shown.contains("Test focus"), "{shown}");
    for skipped in ["Project", "Success criteria", "Proof method"] {
        assert!(!shown.contains(skipped), "{shown}");
    }
    let answers = answers.unwrap();
    assert_eq!(answers.project.origin, Origin::Parameter);
    assert_eq!(answers.focus.origin, Origin::Interview);
}

#[test]
fn a_wrong_answer_is_asked_again_with_the_nearest_one() {
    let given = words([Some("ant-quic"), None, Some("all-pass"), Some("logs")]);
    let (answers, shown) = asked(&given, None, "9\n\nconectivity\nconnectivity\n");
    assert!(shown.contains("did you mean `connectivity`?"), "{shown}");
    assert_eq!(shown.matches("Number or word").count(), 4);
    assert_eq!(answers.unwrap().focus.value, Focus::Connectivity);
}

#[test]
fn to_modify_starts_from_the_answers_that_are_there() {
    let given = words([
        Some("ant-quic"),
        Some("connectivity"),
        Some("all-pass"),
        Some("logs"),
    ]);
    let first = asked(&given, None, "").0.unwrap();
    let (second, shown) = asked(&Words::default(), Some(&first), "\n\nthreshold\n\n");
    assert!(shown.contains("[connectivity]"), "{shown}");
    assert_eq!(
        second.unwrap().words(),
        ["ant-quic", "connectivity", "threshold", "logs"]
    );
}

#[test]
fn an_input_that_ends_starts_nothing() {
    let (answers, _) = asked(&Words::default(), None, "1\n");
    assert!(answers.unwrap_err().to_string().contains("nobody answers"));
}

#[test]
fn a_plan_is_proceeded_with_modified_or_cancelled() {
    for (typed, decision) in [
        ("1\n", Decision::Proceed),
        ("modify\n", Decision::Modify),
        ("c\n", Decision::Cancel),
    ] {
        let mut shown = Vec::new();
        let decided = decide_in(&mut Dialogue::with(typed.as_bytes(), &mut shown)).unwrap();
        assert_eq!(decided, decision);
        assert!(
            String::from_utf8(shown)
                .unwrap()
                .contains("Confirm test plan and proceed?")
        );
    }
}

#[test]
fn yes_needs_all_four_and_names_those_that_are_missing() {
    let given = words([Some("ant-quic"), None, Some("all-pass"), None]);
    let error = Answers::gather(&given, true, &config()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`--yes` needs all four words; missing: focus, proof"
    );
    let help = error.help().unwrap().to_string();
    assert!(
        help.contains("focus: connectivity, nat-traversal"),
        "{help}"
    );
}
