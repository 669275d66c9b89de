//! What hosts get beside a tester that may be passed on only under another licence
//! than this workspace's.

use fleet::Artifact;

use super::StepError;
use crate::run_dir::RunDir;
use crate::settings::Settings;

/// `TESTER.NOTICE`, where the module names a licence.
pub fn make(settings: &Settings, dir: &RunDir) -> Result<Option<Artifact>, StepError> {
    let module = &settings.module;
    let Some(licence) = &module.licence else {
        return Ok(None);
    };
    let source = module.crate_dir.as_deref().unwrap_or(".");
    let path = dir.binaries().join(format!("{}.NOTICE", module.binary));
    std::fs::create_dir_all(dir.binaries())
        .and_then(|()| std::fs::write(&path, text(&module.binary, licence, source)))
        .map_err(|e| {
            StepError::Infrastructure(format!("cannot write `{}`: {e}", path.display()))
        })?;
    let notice = Artifact::read(&path).map_err(|e| StepError::infrastructure(&e))?;
    Ok(Some(notice))
}

fn text(binary: &str, licence: &str, source: &str) -> String {
    format!(
        "{binary} links libraries under {licence}: as a whole it is under {licence}.
It is a program of its own, and nothing links it.
Its source: `{source}` of the workspace that it was built in, and the crates of
`{source}/Cargo.lock` from https://crates.io
"
    )
}
