// The official TypeScript client with the official requester of tasks: start a job, be told of its
// end, read it. Usage: node typescript.mjs ERA (URL | COMMAND...); prints one line of JSON. The job
// ends when something is written to the FIFO `end` of the current directory.

import { writeFile } from "node:fs/promises";

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import {
  createTaskSessionFromClient, resultFromTaskOutcome, toolDeclarationFromMcpTool,
} from "@modelcontextprotocol/ext-tasks/client";

const EXTENSION = "io.modelcontextprotocol/tasks";
const VERSION = "2026-07-28";
const PREFIX = "io.modelcontextprotocol/";

const [era, ...target] = process.argv.slice(2);
const modern = era === VERSION;
const clientInfo = { name: "foreign", version: "1" };
const capabilities = modern ? { extensions: { [EXTENSION]: {} } } : {};

const transport = target[0].startsWith("http")
  ? new StreamableHTTPClientTransport(new URL(target[0]))
  : new StdioClientTransport({
      command: target[0], args: target.slice(1), env: process.env, cwd: process.cwd(), stderr: "inherit",
    });

// Requests that the client's own codecs do not know go below it, by ids that are strings.
const raw = new Map();
const notified = [];
function listenBelow() {
  const above = transport.onmessage;
  transport.onmessage = (message, extra) => {
    const settle = raw.get(message.id);
    if (settle !== undefined && message.method === undefined) {
      raw.delete(message.id);
      settle(message);
      return;
    }
    if (message.method === "notifications/tasks") notified.push(message.params);
    above?.(message, extra);
  };
}

let next = 0;
async function dispatch(request) {
  const id = `raw-${next++}`;
  const answer = new Promise((resolve) => raw.set(id, resolve));
  await transport.send({ ...request, jsonrpc: "2.0", id });
  const message = await answer;
  return message.error === undefined
    ? { kind: "result", result: message.result }
    : { kind: "error", error: message.error };
}

async function until(condition) {
  for (let looks = 0; looks < 2000; looks++) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error("not in time");
}

const client = new Client(clientInfo, {
  capabilities,
  versionNegotiation: { mode: modern ? { pin: VERSION } : "legacy" },
});
const updated = [];
client.setNotificationHandler("notifications/resources/updated", (notification) => {
  updated.push(notification.params.uri);
});
await client.connect(transport);
listenBelow();

const framing = modern
  ? { rawDispatch: dispatch, v2RequestFraming: { protocolVersion: VERSION, clientInfo, clientCapabilities: capabilities } }
  : {};
const tasks = createTaskSessionFromClient(client, { endpointId: "mcp-jobs", ...framing });

const { tools } = await client.listTools();
const declaration = toolDeclarationFromMcpTool(tools.find((tool) => tool.name === "start_job"));
const execution = await tasks.callTool(
  "start_job",
  { params: { command: "read x < end; echo from afar" }, cwd: process.cwd() },
  { declaration, task: { preference: modern ? "allow" : "prefer" } },
);
if (execution.kind !== "task") throw new Error(`no task: ${execution.kind}`);
const taskId = execution.serializeReference().taskId;
const uri = `jobs://job/${taskId}`;

if (modern) {
  await client.listen({ resourceSubscriptions: [uri] });
  void dispatch({
    method: "subscriptions/listen",
    params: {
      notifications: { taskIds: [taskId] },
      _meta: {
        [`${PREFIX}protocolVersion`]: VERSION,
        [`${PREFIX}clientInfo`]: clientInfo,
        [`${PREFIX}clientCapabilities`]: capabilities,
      },
    },
  });
} else {
  await client.subscribeResource({ uri });
}
await writeFile("end", "go\n");
if (modern) await until(() => notified.some((task) => task.status === "completed"));
await until(() => updated.includes(uri));

const { outcome } = await execution.settle();
const result = resultFromTaskOutcome(outcome);
const { contents } = await client.readResource({ uri });
process.stdout.write(
  JSON.stringify({ taskId, notified, updated, result, read: JSON.parse(contents[0].text) }) + "\n",
);
process.exit(0);
