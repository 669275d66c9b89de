//! FIX: a bundle for whoever mends the code, a program that does it in a work tree
//! of its own, a guard, local tests, a commit. Without a program the run parks.

mod bundle;
mod fixer;
mod guard;
mod patterns;

use std::path::{Path, PathBuf};
use std::time::Duration;

use model::event::{Event, StopCause};
use model::fix::{FixCommit, FixDecision, FixOutcome, FixTried, FixedBy, FoundFailure, SourceTree};
use model::run::Run;

use crate::git::{GitError, Repository};
use crate::recorder::{Progress, Recorder};
use crate::run_dir::RunDir;
use crate::settings::Settings;
use crate::steps::{Stage, StepError};

use fixer::Job;
use guard::Guard;

/// By which a commit that was made just before a crash is known again.
const TRAILER: &str = "Vps-Test-Fix";

/// How often a parked run looks for a new commit, while it still waits.
const LOOK: Duration = Duration::from_secs(2);

/// How much of a refused diff is shown at once.
const SHOWN_LINES: usize = 40;

/// Crates of vps-test itself that are built with a tester of this workspace:
/// they measure, count and judge.
const HARNESS: [&str; 9] = [
    "crates/agent/**",
    "crates/cli/**",
    "crates/engine/**",
    "crates/fleet/**",
    "crates/lab/**",
    "crates/model/**",
    "crates/registry/**",
    "crates/udp-test/**",
    "crates/view/**",
];

pub async fn perform(stage: &mut Stage<'_>) -> Result<(), StepError> {
    let found = match stage.recorder.with(|run| run.failure.clone()) {
        Some(found) => found,
        None => {
            let found = bundle::make(stage).await?;
            stage.recorder.record(Event::FailureFound(found.clone()))?;
            found
        }
    };
    bundle::write_tried(stage, &found)?;
    let settings = stage.settings;
    let at = stage.dir.path().join(&found.bundle);
    let words = match fixer::command(&settings.config.fix, &at) {
        Some(words) => words.map_err(StepError::Infrastructure)?,
        None => return park(stage, &found, None).await,
    };
    let source = stage.recorder.with(|run| run.source.clone());
    let Some((bench, source)) = Bench::of(settings, stage.dir, stage.recorder).zip(source) else {
        let why = "the source is in no git repository, and fixes are made in a work tree of it";
        return park(stage, &found, Some(why)).await;
    };
    let decision = stage
        .recorder
        .with(|run| run.decide_fix(&found, settings.config.fix.max_attempts));
    match decision {
        FixDecision::GiveUp { why } => {
            let detail = format!("{}; {why}; {}", found.headline, how_to_go_on(stage, &found));
            stop(stage.recorder, StopCause::Failed, detail)
        }
        FixDecision::Try { number } => {
            let attempt = Attempt {
                stage,
                bench: &bench,
                source: &source,
                found: &found,
                bundle: &at,
                number,
            };
            let event = attempt.make(&words).await?;
            stage.recorder.record(event)?;
            Ok(())
        }
    }
}

fn stop(recorder: &Recorder, cause: StopCause, detail: String) -> Result<(), StepError> {
    recorder.record(Event::Stopped { cause, detail })?;
    Ok(())
}

fn how_to_go_on(stage: &Stage<'_>, found: &FoundFailure) -> String {
    format!(
        "read {}/README.md, mend it, then `vps-test fixed {}`",
        stage.dir.path().join(&found.bundle).display(),
        stage.settings.project
    )
}

/// Nobody is there to fix it: the run ends here until a person has, or goes on by
/// itself with a commit that appears.
async fn park(stage: &Stage<'_>, found: &FoundFailure, why: Option<&str>) -> Result<(), StepError> {
    let wait = stage.settings.config.fix.wait();
    let began = std::time::Instant::now();
    loop {
        if let Some(fix) = new_commit(stage, found) {
            stage.recorder.record(Event::FixCommitted(fix))?;
            return Ok(());
        }
        if began.elapsed() >= wait {
            break;
        }
        let doing = "waiting for a commit that mends it";
        stage.recorder.progress(&Progress::Doing(doing.into()));
        tokio::time::sleep(LOOK.min(wait)).await;
    }
    let why = why.map_or(String::new(), |why| format!(" ({why})"));
    let detail = format!(
        "{}; parked in FIX{why}: {}",
        found.headline,
        how_to_go_on(stage, found)
    );
    stop(stage.recorder, StopCause::Parked, detail)
}

/// A commit in the user's own tree since it was built.
fn new_commit(stage: &Stage<'_>, found: &FoundFailure) -> Option<FixCommit> {
    let built = stage.recorder.with(|run| run.source.clone())?;
    let own = Repository::of(&source_dir(stage.settings)?)?;
    let head = own.head()?;
    let was_built = built.commit.as_ref() == Some(&head);
    let is_own = built.repository == own.top.display().to_string();
    (is_own && !was_built).then(|| by_hand(&own, found, Some(head)))
}

/// What a person says is mended: the next build is made from their own tree.
pub fn fixed_by_hand(
    settings: &Settings,
    dir: &RunDir,
    found: &FoundFailure,
) -> Result<FixCommit, GitError> {
    let Some(own) = source_dir(settings).and_then(|dir| Repository::of(&dir)) else {
        return Ok(FixCommit {
            signature: found.signature.clone(),
            by: FixedBy::Hand,
            repository: settings.workspace.display().to_string(),
            branch: None,
            commit: None,
            subject: "fixed by hand".into(),
        });
    };
    let is_clean = !own.snapshot(state_of(dir))?.dirty;
    let head = own.head().filter(|_| is_clean);
    Ok(by_hand(&own, found, head))
}

fn by_hand(own: &Repository, found: &FoundFailure, commit: Option<String>) -> FixCommit {
    let subject = commit.as_ref().map(|commit| own.subject(commit));
    FixCommit {
        signature: found.signature.clone(),
        by: FixedBy::Hand,
        repository: own.top.display().to_string(),
        branch: None,
        commit,
        subject: subject.unwrap_or_else(|| "fixed by hand".into()),
    }
}

/// The source that is tested, for the journal; `None` where git does not know it.
pub fn source(settings: &Settings, dir: &RunDir) -> Result<Option<SourceTree>, GitError> {
    match source_dir(settings).and_then(|dir| Repository::of(&dir)) {
        Some(repository) => repository.snapshot(state_of(dir)).map(Some),
        None => Ok(None),
    }
}

/// Where fixes are made: the stack's tree where one is given, else the workspace.
fn source_dir(settings: &Settings) -> Option<PathBuf> {
    match &settings.stack {
        Some(stack) => stack.tree().map(Path::to_owned),
        None => Some(settings.workspace.clone()),
    }
}

/// The state directory may be in the repository, and is no source.
fn state_of(dir: &RunDir) -> &Path {
    let project = dir.path().parent();
    project.and_then(Path::parent).unwrap_or(dir.path())
}

/// The beginning of a diff, for the screen; the whole of it is kept.
fn excerpt(diff: &str) -> String {
    let lines: Vec<&str> = diff.lines().take(SHOWN_LINES).collect();
    lines.join("\n")
}

/// The work tree that fixes are made in, and built from.
pub struct Bench {
    own: Repository,
    path: PathBuf,
    branch: String,
    record: PathBuf,
}

impl Bench {
    pub fn of(settings: &Settings, dir: &RunDir, recorder: &Recorder) -> Option<Self> {
        // What is built from a fix is in the work tree; the repository is the user's.
        let given = source_dir(settings)?;
        let own = Repository::of(&given)?;
        let run = dir.path().file_name()?.to_string_lossy().into_owned();
        let project = recorder.with(|run| run.plan.as_ref().map(|plan| plan.project.clone()))?;
        Some(Self {
            own,
            path: dir.path().join("fix/work-tree"),
            branch: format!("vps-test/{project}/{run}"),
            record: dir.path().join("fix/running"),
        })
    }

    /// The settings to build with: from the work tree, if a fix stands.
    pub fn settings(&self, base: &Settings, run: &Run) -> Result<Settings, GitError> {
        let mut settings = base.clone();
        let Some(commit) = run.standing_fix().and_then(|fix| fix.commit.as_deref()) else {
            return Ok(settings);
        };
        let tree = self.own.work_tree(&self.path, &self.branch, commit)?;
        let dir = tree.top.join(&tree.prefix);
        match &mut settings.stack {
            Some(stack) => stack.use_tree(dir),
            None => {
                settings.cargo_target = Some(base.workspace.join("target"));
                settings.workspace = dir;
            }
        }
        Ok(settings)
    }

    /// The work tree goes; its branch stays where it holds fixes.
    pub fn clear(&self, run: &Run) {
        fixer::end_left_over(&self.record, &self.path);
        if self.path.exists() {
            self.own.remove_work_tree(&self.path);
            if run.fixes().all(|fix| fix.by == FixedBy::Hand) {
                self.own.drop_branch(&self.branch);
            }
        }
    }
}

/// One attempt at a fix.
struct Attempt<'a> {
    stage: &'a Stage<'a>,
    bench: &'a Bench,
    source: &'a SourceTree,
    found: &'a FoundFailure,
    bundle: &'a Path,
    number: u32,
}

impl Attempt<'_> {
    /// What it came to.
    async fn make(&self, words: &[String]) -> Result<Event, StepError> {
        let trouble = |e: GitError| StepError::Infrastructure(e.to_string());
        fixer::end_left_over(&self.bench.record, &self.bench.path);
        let fix = self
            .stage
            .recorder
            .with(|run| run.standing_fix().and_then(|fix| fix.commit.clone()));
        let base = match fix {
            Some(commit) => commit,
            None => self.bench.own.commit_of(self.source).map_err(trouble)?,
        };
        if let Some(commit) = self.made_before_a_crash(&base) {
            return Ok(Event::FixCommitted(commit));
        }
        let bench = self.bench;
        let tree = bench
            .own
            .work_tree(&bench.path, &bench.branch, &base)
            .map_err(trouble)?;
        let outside = self.judging_files();
        self.tell("the fixer is at work");
        let log = self.bundle.join(format!("fixer-{}.log", self.number));
        if let Err(detail) = self.run(words, &tree, &log).await {
            return Ok(self.nothing(FixOutcome::CommandFailed, detail, None));
        }
        let left = tree
            .snapshot(Path::new("/nonexistent"))
            .map_err(trouble)?
            .tree;
        let text = tree.diff(&base, &left, &["--binary"]).map_err(trouble)?;
        if text.is_empty() && outside == self.judging_files() {
            let detail = "the fixer left everything as it was".to_owned();
            return Ok(self.nothing(FixOutcome::NothingChanged, detail, None));
        }
        let diff = self.keep_diff(&text)?;
        let objections = self.objections(&tree, &base, &left, &outside);
        let objections = objections.map_err(trouble)?;
        if !objections.is_empty() {
            let detail = format!("{}\n{}", objections.join("; "), excerpt(&text));
            return Ok(self.nothing(FixOutcome::Refused, detail, Some(diff)));
        }
        if let Err(detail) = self.local_tests(&tree).await {
            return Ok(self.nothing(FixOutcome::TestsFailed, detail, Some(diff)));
        }
        self.commit(&tree, &base, &left).map_err(trouble)
    }

    fn nothing(&self, outcome: FixOutcome, detail: String, diff: Option<String>) -> Event {
        Event::FixTried(FixTried {
            number: self.number,
            signature: self.found.signature.clone(),
            outcome,
            detail,
            diff,
        })
    }

    async fn run(&self, words: &[String], tree: &Repository, log: &Path) -> Result<(), String> {
        let environment = [
            ("VPS_TEST_BUNDLE", self.bundle.display().to_string()),
            ("VPS_TEST_PROJECT", self.stage.settings.project.clone()),
            ("VPS_TEST_ATTEMPT", self.number.to_string()),
        ];
        fixer::run(&Job {
            words,
            dir: &tree.top.join(&tree.prefix),
            environment: &environment,
            log,
            limit: self.stage.settings.config.fix.timeout(),
            record: &self.bench.record,
        })
        .await
    }

    async fn local_tests(&self, tree: &Repository) -> Result<(), String> {
        let Some(line) = &self.stage.settings.config.fix.test_command else {
            return Ok(());
        };
        self.tell("local tests of the fix");
        let words = shell_words::split(line).unwrap_or_default();
        let log = self.bundle.join(format!("tests-{}.log", self.number));
        self.run(&words, tree, &log).await
    }

    fn objections(
        &self,
        tree: &Repository,
        base: &str,
        left: &str,
        outside: &[Option<Vec<u8>>],
    ) -> Result<Vec<String>, GitError> {
        let config = &self.stage.settings.config.fix;
        let mut protected = config.protected.clone();
        let inside = |path: &PathBuf| {
            let path = path.strip_prefix(&self.bench.own.top).ok()?;
            Some(path.display().to_string())
        };
        protected.extend(self.stage.settings.judged_by.iter().filter_map(inside));
        if self
            .stage
            .settings
            .workspace
            .join("crates/udp-test")
            .is_dir()
        {
            let prefix = tree.prefix.display().to_string();
            protected.extend(HARNESS.iter().map(|place| format!("{prefix}{place}")));
        }
        let guard = Guard {
            protected: &protected,
            max_changed_lines: config.max_changed_lines,
        };
        let mut found = guard::objections(tree, base, left, &guard)?;
        let files = self.stage.settings.judged_by.iter();
        for ((file, before), after) in files.zip(outside).zip(self.judging_files()) {
            if *before != after {
                let file = file.display();
                found.push(format!(
                    "`{file}` says how the fix is judged, and was changed"
                ));
            }
        }
        Ok(found)
    }

    /// The files that the run was started with: a fixer could reach them where they are.
    fn judging_files(&self) -> Vec<Option<Vec<u8>>> {
        let files = self.stage.settings.judged_by.iter();
        files.map(|file| std::fs::read(file).ok()).collect()
    }

    fn keep_diff(&self, diff: &str) -> Result<String, StepError> {
        let name = format!("{}/attempt-{}.diff", self.found.bundle, self.number);
        let written = self.stage.dir.write(&name, diff);
        written.map_err(|e| StepError::infrastructure(&e))?;
        Ok(name)
    }

    fn commit(&self, tree: &Repository, base: &str, left: &str) -> Result<Event, GitError> {
        let commit = tree.commit(left, Some(base), &self.message())?;
        tree.work_tree(&self.bench.path, &self.bench.branch, &commit)?;
        Ok(Event::FixCommitted(self.committed(commit)))
    }

    fn committed(&self, commit: String) -> FixCommit {
        FixCommit {
            signature: self.found.signature.clone(),
            by: FixedBy::Command,
            repository: self.bench.own.top.display().to_string(),
            branch: Some(self.bench.branch.clone()),
            commit: Some(commit),
            subject: self.subject(),
        }
    }

    fn subject(&self) -> String {
        let headline = self.found.headline.lines().next().unwrap_or_default();
        let subject = format!("Fix {}: {headline}", self.stage.settings.project);
        match subject.char_indices().nth(100) {
            Some((at, _)) => format!("{}…", &subject[..at]),
            None => subject,
        }
    }

    fn message(&self) -> String {
        let cells = match self.found.cells.as_slice() {
            [] => String::new(),
            cells => format!("Failing cells:\n- {}\n\n", cells.join("\n- ")),
        };
        format!(
            "{}\n\n{cells}Found on {}, attempt {} of vps-test.\n\n{TRAILER}: {}\n",
            self.subject(),
            self.stage.recorder.with(|run| run
                .plan
                .as_ref()
                .map_or(String::new(), |p| p.runs_on.clone())),
            self.number,
            self.trailer(),
        )
    }

    fn trailer(&self) -> String {
        format!("{}/{}", self.bench.branch, self.number)
    }

    /// Killed between the commit and its entry in the journal.
    fn made_before_a_crash(&self, base: &str) -> Option<FixCommit> {
        let own = &self.bench.own;
        let commit = own.commit_at(&self.bench.branch)?;
        let is_ours = own.parent(&commit).as_deref() == Some(base)
            && own.trailer(&commit, TRAILER).as_deref() == Some(&self.trailer());
        is_ours.then(|| self.committed(commit))
    }

    fn tell(&self, what: &str) {
        let recorder = self.stage.recorder;
        recorder.progress(&Progress::Doing(what.into()));
    }
}
