//! What the run stood on: NATs, nodes, builds, environment, files.

use model::proof::{Proof, ProofNode};

use super::{digest, section};
use crate::html::{Escaped, put};
use crate::quantity::{bytes, span};

pub fn nats(out: &mut String, proof: &Proof) {
    let boxed: Vec<_> = proof.nodes.iter().flat_map(ProofNode::fronts).collect();
    if boxed.is_empty() {
        return;
    }
    section(
        out,
        "NAT certificates",
        "each box was measured before anything was tested behind it; the prober is not told the label",
    );
    out.push_str("<div class=\"nats\">\n");
    for (name, nat) in boxed {
        let agrees = nat.measured == nat.labelled;
        let (class, sign) = match (agrees, nat.measured.as_str()) {
            (true, _) => ("pass", "✓"),
            (false, "not measured") => ("inconclusive", "?"),
            (false, _) => ("differs", "≠"),
        };
        put!(
            out,
            "<article class=\"{class}\">\n<h3>{}</h3>\n<p>labelled {}</p>\n<p>measured <b>{sign} {}</b></p>\n",
            Escaped(&name),
            Escaped(&nat.labelled),
            Escaped(&nat.measured)
        );
        if !nat.evidence.is_empty() {
            out.push_str("<ul class=\"note\">\n");
            for probe in &nat.evidence {
                put!(out, "<li>{}</li>\n", Escaped(probe));
            }
            out.push_str("</ul>\n");
        }
        out.push_str("</article>\n");
    }
    out.push_str("</div>\n</section>\n");
}

pub fn nodes(out: &mut String, proof: &Proof) {
    section(
        out,
        "Nodes",
        "the digest is that of the running process, read back from the host",
    );
    out.push_str("<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">Node</th><th scope=\"col\">Role</th><th scope=\"col\">Region</th><th scope=\"col\">NAT</th><th scope=\"col\">Stack</th><th scope=\"col\">Running</th><th scope=\"col\">Kernel</th></tr></thead>\n<tbody>\n");
    for node in &proof.nodes {
        put!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td>",
            Escaped(node.name.as_str()),
            Escaped(&node.role),
            Escaped(&node.region),
            Escaped(&node.nat.labelled)
        );
        if node.reached == "reached" {
            put!(
                out,
                "<td>{}</td><td>{}</td><td>{}</td></tr>\n",
                Escaped(node.stack.as_deref().unwrap_or("–")),
                node.digest.as_deref().map_or_else(|| "–".into(), digest),
                Escaped(node.kernel.as_deref().unwrap_or("–"))
            );
        } else {
            put!(
                out,
                "<td colspan=\"3\" class=\"missing\">{}</td></tr>\n",
                Escaped(&node.reached)
            );
        }
    }
    out.push_str("</tbody></table></div>\n</section>\n");
}

pub fn built(out: &mut String, proof: &Proof) {
    section(out, "Source and builds", "");
    out.push_str("<dl class=\"pairs\">\n");
    if let Some(stack) = &proof.plan.stack {
        let dirty = match &stack.dirty_sha256 {
            Some(diff) => format!(", with uncommitted changes {}", digest(diff)),
            None => String::new(),
        };
        put!(
            out,
            "<dt>{}</dt><dd>from {}, commit <code>{}</code>{dirty}</dd>\n",
            Escaped(&stack.name),
            Escaped(&stack.given),
            Escaped(stack.commit.as_deref().unwrap_or("none"))
        );
    }
    let fixes = &proof.evidence.fix_commits;
    if !fixes.is_empty() {
        out.push_str("<dt>fix commits</dt><dd>");
        for (index, commit) in fixes.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            put!(out, "{comma}<code>{}</code>", Escaped(commit));
        }
        out.push_str("</dd>\n");
    }
    for build in &proof.builds {
        put!(
            out,
            "<dt>{}</dt><dd>{} · {} · {:.1} s · <code>{}</code></dd>\n",
            Escaped(&build.binary),
            digest(&build.sha256),
            bytes(build.bytes as f64),
            build.seconds,
            Escaped(&build.command)
        );
    }
    out.push_str("</dl>\n</section>\n");
}

pub fn environment(out: &mut String, proof: &Proof) {
    let (plan, here) = (&proof.plan, &proof.environment);
    section(out, "Environment and terms", "");
    out.push_str("<dl class=\"pairs\">\n");
    let own = here
        .harness_sha256
        .as_deref()
        .map_or_else(|| "not known".into(), digest);
    put!(
        out,
        "<dt>vps-test</dt><dd>{} {own}</dd>\n",
        Escaped(&here.harness_version)
    );
    put!(
        out,
        "<dt>controller</dt><dd>{}, {} processors</dd>\n",
        Escaped(&here.system),
        here.processors
    );
    match &proof.wan {
        Some(wan) => put!(
            out,
            "<dt>emulated internet</dt><dd>seed {}, {} packets, lateness p50 {:.2} ms and p99 {:.2} ms, {} unasked drops</dd>\n",
            wan.seed,
            wan.packets,
            wan.lateness_p50_ms,
            wan.lateness_p99_ms,
            wan.unasked_drops
        ),
        None => out.push_str("<dt>internet</dt><dd>not emulated, or it did not answer</dd>\n"),
    }
    put!(
        out,
        "<dt>an attempt</dt><dd>{} each way with digests acknowledged, {:.0} s a rung, fresh ports and identities</dd>\n",
        bytes(plan.payload_bytes as f64),
        plan.timeout_ms as f64 / 1000.0
    );
    let waits: Vec<String> = plan.soak_seconds.iter().map(|s| span(*s as f64)).collect();
    let waits = if waits.is_empty() {
        "none".to_owned()
    } else {
        waits.join(", then ")
    };
    put!(
        out,
        "<dt>plan</dt><dd>criteria {}, proof {}, budget {} attempts a criterion, waits: {waits}</dd>\n",
        Escaped(&plan.criteria_mode),
        Escaped(&plan.proof_mode),
        plan.budget
    );
    out.push_str("</dl>\n</section>\n");
}

pub fn evidence(out: &mut String, proof: &Proof) {
    section(
        out,
        "Evidence",
        "files beside this page; their digests are in the journal",
    );
    put!(
        out,
        "<p>In <code>{}</code>. To judge all of this again, offline, from the journal alone: <code>vps-test verify {}</code>. \
         To check the files without vps-test: <code>sha256sum -c MANIFEST</code>. \
         Without a signature beside MANIFEST, somebody who can write the directory could have made all of it up.</p>\n",
        Escaped(&proof.environment.run_dir),
        Escaped(&proof.environment.run_dir)
    );
    let files = &proof.evidence.files;
    if files.is_empty() {
        out.push_str("<p>Nothing was collected.</p>\n</section>\n");
        return;
    }
    put!(
        out,
        "<details>\n<summary>{} files</summary>\n<table class=\"dense\">\n<tbody>\n",
        files.len()
    );
    for file in files {
        put!(
            out,
            "<tr><td>{}</td><td class=\"number\">{}</td><td>{}</td></tr>\n",
            Escaped(&file.path),
            bytes(file.bytes as f64),
            digest(&file.sha256)
        );
    }
    out.push_str("</tbody></table>\n</details>\n</section>\n");
}
