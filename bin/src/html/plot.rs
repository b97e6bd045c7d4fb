//! Throughput over time, drawn by `plotters`. Its colours are marks that the page's style turns into
//! those of light and dark.

use plotters::prelude::*;

use super::time::Clock;

/// The marks, as `style.css` has them.
pub(super) const ACCENT: RGBColor = RGBColor(0x2f, 0x62, 0xc9);
pub(super) const ROWS: RGBColor = RGBColor(0x14, 0x86, 0x6d);
const LINE: RGBColor = RGBColor(0xd9, 0xde, 0xe6);
const PAUSE: RGBColor = RGBColor(0x84, 0x90, 0xa3);

/// A quantity per second as an area over the time at work; empty when there is nothing to draw.
pub(super) fn plot(
    clock: &Clock,
    rates: &[f64],
    colour: RGBColor,
    unit: &dyn Fn(f64) -> String,
) -> String {
    let most = rates.iter().copied().fold(0.0, f64::max);
    if most <= 0.0 || clock.total <= 0.0 {
        return String::new();
    }
    let mut svg = String::new();
    let drawn = draw(&mut svg, clock, rates, most, colour, unit);
    if drawn.is_err() {
        // The only backend is a string, which takes everything.
        return String::new();
    }
    // Inline, a drawing needs no namespace, and it grows with the page.
    match svg.find('>').map(|end| svg.split_at(end + 1)) {
        Some((_, rest)) => {
            format!(
                "<div class=\"plot\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">{rest}</div>\n"
            )
        }
        None => String::new(),
    }
}

const WIDTH: u32 = 960;
const HEIGHT: u32 = 190;

fn draw(
    svg: &mut String,
    clock: &Clock,
    rates: &[f64],
    most: f64,
    colour: RGBColor,
    unit: &dyn Fn(f64) -> String,
) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin_top(10)
        .margin_right(24)
        .x_label_area_size(28)
        .y_label_area_size(86)
        .build_cartesian_2d(0.0..clock.total, 0.0..most * 1.08)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(LINE)
        .light_line_style(TRANSPARENT)
        .axis_style(LINE)
        .label_style(("sans-serif", 12))
        .x_labels(9)
        .y_labels(5)
        .x_label_formatter(&|seconds| super::seconds_label(*seconds, clock.total))
        .y_label_formatter(&|rate| unit(*rate))
        .draw()?;
    let width = clock.total / rates.len() as f64;
    // Steps, because a part's rate is a mean over the part.
    let steps = rates.iter().enumerate().flat_map(|(part, rate)| {
        [(part as f64 * width, *rate), ((part + 1) as f64 * width, *rate)]
    });
    chart.draw_series(
        AreaSeries::new(steps, 0.0, colour.mix(0.22)).border_style(colour.stroke_width(1)),
    )?;
    for (at, _) in &clock.pauses {
        chart.draw_series([PathElement::new(vec![(*at, 0.0), (*at, most * 1.08)], PAUSE)])?;
    }
    root.present()?;
    Ok(())
}
