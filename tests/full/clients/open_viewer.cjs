// Opens a page of the OHIF viewer in headless Chromium: node open_viewer.cjs CHROMIUM URL SCREENSHOT SECONDS
// Waits until the screenshot of the viewport shows the test image, a bright disc on a dark ground, and keeps a screenshot of the
// page either way. Prints one JSON object: the mean grey of the disc and of the ground to its left and above, and what the page said.
const fs = require("fs");
const puppeteer = require("puppeteer-core");

const OPTIONS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist", "--no-proxy-server",
    "--disable-dev-shm-usage"];
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// Mean grey of three patches of a PNG, told from its pixels: middle, left of the disc, above the disc.
function greys(png) {
    return new Promise((resolve, reject) => {
        const image = new Image();
        image.onerror = reject;
        image.onload = () => {
            const canvas = new OffscreenCanvas(image.width, image.height);
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            const unit = Math.min(image.width, image.height);
            const mean = (x, y) => {
                const side = Math.max(4, Math.floor(unit / 20));
                const { data } = context.getImageData(image.width / 2 + x * unit - side / 2, image.height / 2 + y * unit - side / 2, side, side);
                let sum = 0;
                for (let i = 0; i < data.length; i += 4) {
                    sum += (data[i] + data[i + 1] + data[i + 2]) / 3;
                }
                return Math.round(sum / (data.length / 4));
            };
            resolve({ disc: mean(0, 0.1), left: mean(-0.42, 0.1), above: mean(0, -0.38) });
        };
        image.src = `data:image/png;base64,${png}`;
    });
}

async function main([chromium, url, screenshot, seconds]) {
    const browser = await puppeteer.launch({ executablePath: chromium, headless: true, args: OPTIONS });
    const said = [];
    const found = { disc: 0, left: 0, above: 0, viewport: false };
    try {
        const judge = await browser.newPage(); // a page of its own: the viewer's own script has no say in what its pixels are
        const page = await browser.newPage();
        await page.setViewport({ width: 1280, height: 900 });
        page.on("pageerror", (error) => said.push(`error: ${error.message}`));
        page.on("console", (message) => message.type() === "error" && said.push(message.text()));
        page.on("response", (response) => response.status() >= 400 && said.push(`${response.status()} ${response.url()}`));
        await page.goto(url, { waitUntil: "domcontentloaded" });
        const deadline = Date.now() + 1000 * Number(seconds);
        while (Date.now() < deadline && !(found.disc > 120 && found.disc > found.left + 60 && found.disc > found.above + 60)) {
            await pause(1000);
            const viewport = await page.$(".cornerstone-canvas");
            if (viewport) {
                found.viewport = true;
                Object.assign(found, await judge.evaluate(greys, await viewport.screenshot({ encoding: "base64" })));
            }
        }
        fs.writeFileSync(screenshot, await page.screenshot());
    } finally {
        await browser.close();
    }
    process.stdout.write(JSON.stringify({ ...found, said: said.slice(0, 20) }));
}

main(process.argv.slice(2)).catch((error) => {
    process.stderr.write(`${error.stack || error}\n`);
    process.exit(1);
});
