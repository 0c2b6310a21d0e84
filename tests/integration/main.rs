//! The tests that need more than one module, or a real server.

#[cfg(test)]
mod audit;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod connection;
#[cfg(test)]
mod floors;
#[cfg(test)]
mod inventory;
#[cfg(test)]
mod lab;
#[cfg(test)]
mod page;
#[cfg(test)]
mod policy;
