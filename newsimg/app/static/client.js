/* Requests to the server. An error is thrown with the server's message. */

const ENDED = "The server does not answer: it has ended, see its terminal. Start newsimg-search again and reload this page.";

/* The answer to a request; `silent` is said where there is none. */
export async function request(path, options = {}, silent = ENDED) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(silent);
  }
  if (answer.ok) return answer;
  const { message } = await answer.json().catch(() => ({}));
  throw new Error(message || `The server answered with error ${answer.status}.`);
}

export const get = async path => (await request(path)).json();

const send = (path, body, signal) => request(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });
export const post = async (path, body, signal) => (await send(path, body, signal)).json();

/* Send a file, and return its description. */
export const upload = async file => (await request("/pictures/uploads", { method: "POST", body: file })).json();

/* Have a file made by the server, and let the browser save it. */
export async function save(path, body) {
  const answer = await send(path, body);
  await saveAnswer(answer, decodeURIComponent(answer.headers.get("X-File-Name")));
}

/* Let the browser save what was answered. */
export async function saveAnswer(answer, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
