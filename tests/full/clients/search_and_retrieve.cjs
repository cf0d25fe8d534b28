// dicomweb-client, the library of web viewers, against a DICOMweb server: node search_and_retrieve.cjs BASE PATIENT_ID STUDY_UID
// Prints one JSON object: what it found, and the SHA-256 of what it fetched by SOP Instance UID.
const crypto = require("crypto");
global.XMLHttpRequest = require("xhr2");
const { api } = require("dicomweb-client");

const value = (item, tag) => item[tag] && item[tag].Value && item[tag].Value[0];
const digest = (bytes) => crypto.createHash("sha256").update(Buffer.from(bytes)).digest("hex");

// Of the data set of a whole file, behind the file meta information, whose length is the value of its first element (PS3.10 7.1).
function dataSetDigest(file) {
    return digest(Buffer.from(file).subarray(144 + Buffer.from(file).readUInt32LE(140)));
}

async function main([base, patientId, studyUid]) {
    const client = new api.DICOMwebClient({ url: base });
    const studies = await client.searchForStudies({ queryParams: { PatientID: patientId } });
    const series = await client.searchForSeries({ studyInstanceUID: studyUid });
    const seriesUid = value(series[0], "0020000E");
    const instances = await client.searchForInstances({ studyInstanceUID: studyUid, seriesInstanceUID: seriesUid });
    const metadata = await client.retrieveStudyMetadata({ studyInstanceUID: studyUid });
    const sopUid = value(instances[0], "00080018");
    const target = { studyInstanceUID: studyUid, seriesInstanceUID: seriesUid, sopInstanceUID: sopUid };
    const whole = await client.retrieveStudy({ studyInstanceUID: studyUid });
    const one = await client.retrieveInstance(target);
    const frames = await client.retrieveInstanceFrames({ ...target, frameNumbers: [1] });
    process.stdout.write(JSON.stringify({
        studies: studies.map((item) => value(item, "0020000D")),
        series: series.map((item) => value(item, "0020000E")),
        instances: instances.map((item) => value(item, "00080018")),
        metadata: metadata.map((item) => value(item, "00080018")),
        names: metadata.map((item) => value(item, "00100010")),
        study: whole.map(dataSetDigest),
        instance: { uid: sopUid, sha256: dataSetDigest(one) },
        frame: { uid: sopUid, sha256: digest(frames[0]), bytes: frames[0].byteLength },
    }));
}

main(process.argv.slice(2)).catch((error) => {
    process.stderr.write(`${error.stack || error}\n${error.response ? String(error.response).slice(0, 500) : ""}\n`);
    process.exit(1);
});
