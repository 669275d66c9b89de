//! The run as it happens: a line for what is done, a bar for what is being done.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::{Progress, Sink};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::tz::TimeZone;
use model::attempt::{Attempt, Counted, Matrix};
use model::event::{Entry, Event};
use model::family::Family;
use model::inventory::NodeName;
use model::judge::agrees_with_theory;
use model::link::LinkMeasured;
use model::nat::describe;
use model::run::{Run, State};
use model::suite::SuiteName;

use super::grid::Grid;
use super::paint::{Paint, Style};
use super::summary::first_line;
use super::time::clock;

pub struct Live(Mutex<Screen>);

struct Screen {
    paint: Paint,
    bar: ProgressBar,
    began: Instant,
    /// Sent and total bytes of each upload.
    uploads: HashMap<(NodeName, String), (u64, u64)>,
    matrix: Option<Bar>,
    grid: Option<Grid>,
}

/// One matrix on its way.
struct Bar {
    matrix: Matrix,
    /// Of its first round.
    cells: usize,
    done: usize,
    /// Attempts of the stack that failed; of plain UDP, that contradict theory.
    failed: usize,
}

impl Live {
    pub fn new() -> Self {
        let paint = Paint::detect();
        // A bar that cannot be redrawn is noise: plain output is lines alone.
        let target = match paint {
            Paint::Colour => ProgressDrawTarget::stdout(),
            Paint::Plain => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        Self(Mutex::new(Screen {
            paint,
            bar,
            began: Instant::now(),
            uploads: HashMap::new(),
            matrix: None,
            grid: None,
        }))
    }

    fn screen(&self) -> MutexGuard<'_, Screen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Live {
    fn entry(&self, entry: &Entry, run: &Run) {
        self.screen().entry(entry, run);
    }

    fn progress(&self, progress: &Progress) {
        self.screen().progress(progress);
    }
}

impl Screen {
    fn entry(&mut self, entry: &Entry, run: &Run) {
        match &entry.event {
            Event::Entered { state } => self.enter(*state),
            Event::Finished { state } => {
                let what = finished(*state, run, &self.uploads);
                self.done(*state, &what);
            }
            Event::NodeDegraded { node, reason } => {
                self.warn(&format!("{node} is degraded: {}", first_line(reason)))
            }
            Event::BuildFailed { detail, .. } => {
                self.step(
                    &self.paint.text(Style::Bad, "✗"),
                    State::BuildLocal,
                    "does not build",
                );
                self.line(detail);
            }
            Event::LinksMeasured { links } => self.links(links),
            Event::NatMeasured(measured) => self.nat(measured),
            Event::AttemptFinished(attempt) => self.attempt(attempt, run),
            Event::Finding { detail } => self.warn(detail),
            Event::SuiteFinished { suite, .. } => self.suite(suite, run),
            Event::Judged {
                verdict, summary, ..
            } => {
                let (sign, style) = super::summary::sign(*verdict);
                self.step(
                    &self.paint.text(style, sign),
                    State::Test,
                    &format!("{verdict}: {summary}"),
                );
            }
            Event::FailureFound(found) => {
                self.line(&format!("    bundle {}/README.md", found.bundle))
            }
            Event::FixTried(tried) => self.warn(&format!(
                "fix attempt {}: {}: {}",
                tried.number, tried.outcome, tried.detail
            )),
            Event::FixCommitted(fix) => self.done(
                State::Fix,
                &format!("{} ({})", fix.subject, fix.short_commit()),
            ),
            Event::WaitBegan { state, until } => {
                let until = clock(*until, entry.at, &TimeZone::system());
                self.line(&format!("  {state:<12} until {until}"));
            }
            Event::Resumed => self.line(&format!("▸ resumed in {}", run.state)),
            Event::Stopped { detail, .. } => {
                self.bar.finish_and_clear();
                self.line(&format!(
                    "{} {:<12} {detail}",
                    self.paint.text(Style::Bad, "✗"),
                    "STOPPED"
                ));
            }
            Event::Completed => self.bar.finish_and_clear(),
            _ => {}
        }
    }

    fn progress(&mut self, progress: &Progress) {
        match progress {
            Progress::BuildLine(line) => self.bar.set_message(line.trim().to_owned()),
            Progress::Doing(what) => {
                self.bar.set_message(what.clone());
            }
            Progress::Upload {
                node,
                binary,
                sent,
                total,
            } => {
                self.uploads
                    .insert((node.clone(), binary.clone()), (*sent, *total));
                let (sent, total) = self
                    .uploads
                    .values()
                    .fold((0, 0), |(s, t), (sent, total)| (s + sent, t + total));
                self.bytes_bar(sent, total);
            }
            Progress::Planned { matrix, attempts } => self.plan(*matrix, *attempts),
        }
    }

    fn enter(&mut self, state: State) {
        self.began = Instant::now();
        self.uploads.clear();
        self.matrix = None;
        self.grid = None;
        self.bar.reset();
        self.bar.unset_length();
        self.bar
            .set_style(style("{spinner} {prefix:<12} {wide_msg:.dim}"));
        self.bar.set_prefix(state.to_string());
        self.bar.set_message("");
        self.bar.enable_steady_tick(Duration::from_millis(120));
    }

    fn bytes_bar(&self, sent: u64, total: u64) {
        self.bar.set_style(style(
            "{spinner} {prefix:<12} [{bar:30}] {bytes}/{total_bytes}  {wide_msg:.dim}",
        ));
        self.bar.set_length(total);
        self.bar.set_position(sent);
    }

    fn plan(&mut self, matrix: Matrix, attempts: usize) {
        let is_more = self.matrix.as_ref().is_some_and(|bar| bar.matrix == matrix);
        if !is_more {
            self.matrix = Some(Bar {
                matrix,
                cells: attempts,
                done: 0,
                failed: 0,
            });
        }
        self.bar.set_style(style(
            "{spinner} {prefix:<12} [{bar:30}] {pos}/{len} attempts  {wide_msg:.dim}",
        ));
        self.bar.set_length(attempts as u64);
        self.bar
            .set_position(self.matrix.as_ref().map_or(0, |bar| bar.done) as u64);
    }

    fn links(&self, links: &[LinkMeasured]) {
        for link in links.iter().filter(|link| link.mismatch.is_some()) {
            let what = link.mismatch.as_deref().unwrap_or_default();
            let sign = self.paint.text(Style::Bad, "✗");
            self.line(&format!("    {sign} {}: {what}", link.pair));
        }
        let off = links.iter().filter_map(|link| {
            let (set, measured) = (link.set?, link.measured?);
            Some((measured.delay_ms - set.delay_ms).abs())
        });
        let sign = self.paint.text(Style::Good, "✓");
        let trips = links
            .iter()
            .filter_map(|link| Some(link.measured?.delay_ms));
        match off.reduce(f64::max) {
            Some(off) if links.iter().all(|link| link.mismatch.is_none()) => self.line(&format!(
                "    {sign} network measured: round trips at most {off:.1} ms off what is set, in {} classes of pairs",
                links.len()
            )),
            Some(_) => {}
            None => self.line(&format!(
                "    {sign} network measured: {} pairs, the longest round trip {:.1} ms",
                links.len(),
                trips.fold(0.0, f64::max)
            )),
        }
    }

    fn nat(&self, measured: &model::event::NatMeasured) {
        let (sign, style) = if measured.mismatch.is_none() {
            ("✓", Style::Good)
        } else {
            ("✗", Style::Bad)
        };
        let is = measured.certificate.describe();
        let wanted = match &measured.mismatch {
            None => String::new(),
            Some(why) if measured.family == Family::Ipv6 => format!(": {why}"),
            Some(_) => format!(", labelled {}", describe(measured.labelled)),
        };
        self.line(&format!(
            "    {} {} is measured as {is}{wanted}",
            self.paint.text(style, sign),
            measured.name()
        ));
    }

    fn attempt(&mut self, attempt: &Attempt, run: &Run) {
        let matrix = attempt.start.matrix;
        if matrix == Matrix::Stack {
            let grid = self
                .grid
                .take()
                .or_else(|| run.plan.as_ref().map(Grid::of_plan));
            self.grid = grid.map(|mut grid| {
                grid.add(attempt);
                grid
            });
        }
        let Some(bar) = self.matrix.as_mut().filter(|bar| bar.matrix == matrix) else {
            return;
        };
        bar.done += 1;
        bar.failed += usize::from(match matrix {
            Matrix::Reference => !agrees_with_theory(attempt),
            Matrix::Stack => attempt.verdict() != Counted::Success,
        });
        let (done, failed, is_full) = (bar.done, bar.failed, bar.done == bar.cells);
        self.bar.set_position(done as u64);
        if failed > 0 && matrix == Matrix::Stack {
            self.bar.set_message(format!("{failed} failed"));
        }
        if is_full {
            self.full_matrix(matrix, done, failed);
        }
    }

    fn full_matrix(&self, matrix: Matrix, cells: usize, odd: usize) {
        let (sign, style) = if odd == 0 {
            ("✓", Style::Good)
        } else {
            ("✗", Style::Bad)
        };
        let sign = self.paint.text(style, sign);
        match (matrix, &self.grid) {
            (Matrix::Reference, _) => self.line(&format!(
                "    {sign} plain UDP does what theory says in {} of {cells} cells",
                cells - odd
            )),
            (Matrix::Stack, Some(grid)) => self.line(&format!("\n{}", grid.render(self.paint))),
            (Matrix::Stack, None) => {}
        }
    }

    /// Where there are several, each says when it is through; all are judged at the end.
    fn suite(&self, suite: &SuiteName, run: &Run) {
        if run.plan.as_ref().is_some_and(|plan| plan.suites.len() > 1) {
            let seconds = self.began.elapsed().as_secs_f64();
            let time = self.paint.text(Style::Dim, &format!("{seconds:.0} s"));
            self.line(&format!("    · {suite} is through  {time}"));
        }
    }

    fn done(&self, state: State, what: &str) {
        self.step(&self.paint.text(Style::Good, "✓"), state, what);
    }

    fn step(&self, sign: &str, state: State, what: &str) {
        self.bar.disable_steady_tick();
        let seconds = self.began.elapsed().as_secs_f64();
        let time = self.paint.text(Style::Dim, &format!("{seconds:.1} s"));
        self.line(&format!("{sign} {state:<12} {what}  {time}"));
    }

    fn warn(&self, what: &str) {
        self.line(&format!("  {} {what}", self.paint.text(Style::Warn, "!")));
    }

    fn line(&self, text: &str) {
        match self.paint {
            Paint::Colour => self.bar.println(text),
            Paint::Plain => println!("{text}"),
        }
    }
}

fn finished(state: State, run: &Run, uploads: &HashMap<(NodeName, String), (u64, u64)>) -> String {
    match state {
        State::Setup => format!(
            "{} of {} nodes",
            run.reached.len(),
            run.reached.len() + run.degraded.len()
        ),
        State::BuildLocal => {
            let bytes: u64 = run.builds.iter().rev().take(3).map(|b| b.bytes).sum();
            format!("3 binaries, {} MB", bytes / 1_000_000)
        }
        State::Deploy => {
            let sent: u64 = uploads.values().map(|(sent, _)| sent).sum();
            format!(
                "{} services run, {} MB sent",
                run.deployed.len(),
                sent / 1_000_000
            )
        }
        _ => String::new(),
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
