/* Requests with the token of the link, which stands after #: browsers send it to no server and no other page. */

const token = new URLSearchParams(location.hash.slice(1)).get("t") ?? "";

export async function request(path, body) {
  const headers = { Authorization: `Bearer ${token}` }, options = { headers, cache: "no-store" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Nothing that was answered is lost; try again in a moment.");
  }
  if (answer.ok) return answer;
  const { message } = await answer.json().catch(() => ({}));
  throw new Error(message || `The server answered with error ${answer.status}.`);
}
