//! The twin itself, driven as its users drive it.

#[cfg(test)]
mod adverse;
#[cfg(test)]
mod cgroup;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod hosts;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod process;
#[cfg(test)]
mod site;
#[cfg(test)]
mod ssh;
#[cfg(test)]
mod systemd;
#[cfg(test)]
mod traffic;
#[cfg(test)]
mod v6;
mod wan;
