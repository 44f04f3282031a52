//! Plots of a simulated hour as SVG: workers above, the oldest age below.

use std::fmt::Write as _;

use super::model::{Run, TARGET};

/// Interval of the points, in seconds.
const STEP: usize = 30;
/// Width and height of a plot, and its place from the left.
const PLOT: (f64, f64, f64) = (640.0, 120.0, 50.0);
/// Tops of both plots.
const TOPS: [f64; 2] = [50.0, 210.0];
/// Colour and dashes of each policy: told apart also without colours.
const STYLES: [(&str, &str); 3] = [("#0072b2", ""), ("#d55e00", "6 3"), ("#009e73", "2 3")];

/// The picture of these runs, by the names of their policies.
pub(super) fn svg(title: &str, runs: &[(&'static str, Run)]) -> String {
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 370\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"720\" height=\"370\" fill=\"#fff\"/>\n",
    );
    let _ = writeln!(svg, "<text x=\"50\" y=\"20\">{title}</text>");
    for (index, ((name, _), (colour, dashes))) in (0_u32..).zip(runs.iter().zip(STYLES)) {
        let x = 50 + index * 90;
        let _ = writeln!(
            svg,
            "<path d=\"M{x} 36h24\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>\
             <text x=\"{}\" y=\"40\">{name}</text>",
            x + 30
        );
    }
    let workers: Vec<&[u32]> = runs.iter().map(|(_, run)| run.workers()).collect();
    let ages: Vec<&[u32]> = runs.iter().map(|(_, run)| run.ages()).collect();
    panel(&mut svg, TOPS[0], "workers", &workers, 1);
    panel(&mut svg, TOPS[1], "oldest age, s", &ages, 2 * TARGET);
    svg += "<text x=\"50\" y=\"362\">0</text><text x=\"650\" y=\"362\">60 min</text>\n</svg>\n";
    svg
}

/// One plot, up to the largest value or to `least`.
fn panel(svg: &mut String, top: f64, label: &str, lines: &[&[u32]], least: u32) {
    let (width, height, left) = PLOT;
    let largest = lines.iter().flat_map(|line| line.iter().copied()).max().unwrap_or_default().max(least);
    let bottom = top + height;
    let _ = writeln!(
        svg,
        "<path d=\"M{left} {top}V{bottom}H{}\" fill=\"none\" stroke=\"#888\"/>\
         <text x=\"6\" y=\"{}\">{largest}</text><text x=\"6\" y=\"{bottom}\">0</text>\
         <text x=\"{}\" y=\"{}\">{label}</text>",
        left + width,
        top + 10.0,
        left + 6.0,
        top + 10.0
    );
    for (line, (colour, dashes)) in lines.iter().zip(STYLES) {
        let seconds = f64::from(u32::try_from(line.len()).unwrap_or(u32::MAX));
        let points = (0_u32..).zip(line.iter()).step_by(STEP).map(|(second, value)| {
            let x = left + width * f64::from(second) / seconds;
            let y = bottom - height * f64::from(*value) / f64::from(largest);
            format!("{x:.0},{y:.0}")
        });
        let points = points.collect::<Vec<_>>().join(" ");
        let _ = writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
             stroke-dasharray=\"{dashes}\"/>"
        );
    }
}
