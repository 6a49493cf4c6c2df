// What the page of `holdfast watch --web` and its server say to each other. The page's own code is in web/.
//
//   GET  api/about                      About
//   GET  api/updates?port=&pid=&keeper= server-sent events: `update` with a WatchUpdate, `problem` with a Problem as the last one
//   GET  api/why?target=&udp=           WhyAnswer
//   GET  api/scenarios                  ScenarioAbout[]
//   POST api/scenarios/ID/run           ScenarioRun, when it has been played
//   GET  api/keepers/NAME/output        server-sent events: `output` with a string of what the server has written, from its last lines on;
//                                       `problem` with a Problem as the last one
//   POST api/keepers/NAME/reload        ActionResult
//   POST api/keepers/NAME/restart       ActionResult
//   POST api/keepers/NAME/scale         ScaleRequest; ActionResult
//
// Everything that fails is answered with a Problem and a status from 400 on. What is posted is JSON.

import type { WatchState } from '../view.js';

/** Where the page is. */
export interface About {
  readonly version: string;
  readonly hostname: string;
  /** Who runs the server: sockets of others may have no owner that can be told. */
  readonly user: string;
  /** As uname(2) gives it. */
  readonly kernel: string;
  readonly intervalMs: number;
}

export interface Problem {
  /** `ERR_HOLDFAST_…`, or the name of a system's error. */
  readonly code: string;
  readonly text: string;
}

/** What `holdfast why` says. */
export interface WhyAnswer {
  /** Of each port; each is a WhyReport. */
  readonly reports: readonly unknown[];
  /** What the command prints. */
  readonly text: string;
  /** With which it ends. */
  readonly exitCode: number;
}

/** A scenario of `holdfast lab`. */
export interface ScenarioAbout {
  readonly id: string;
  readonly title: string;
  readonly source: string;
  readonly claim: string | null;
  readonly why: string | null;
  readonly depends: string | null;
  /** Takes minutes. */
  readonly slow: boolean;
  /** Whether this user can try it. */
  readonly playable: boolean;
  /** The kernel's rules that decide its steps. */
  readonly rules: readonly string[];
  readonly cases: readonly { readonly when: string; readonly steps: readonly string[] }[];
}

/** A socket of a scenario. */
export interface StageSocket {
  readonly state: WatchState;
  /** `127.0.0.1:8080` */
  readonly local: string;
  readonly peer: string | null;
}

export interface ScenarioStep {
  readonly line: string;
  /** `ok`, the name of an error, or what was seen. */
  readonly kernel: string;
  readonly model: string;
  readonly expected: string;
  readonly claimed: string | null;
  /** By which the model decides. */
  readonly rule: string | null;
  /** All of the namespace, after the step. */
  readonly sockets: readonly StageSocket[];
}

/** A scenario that has been played on the kernel and on the model, in network namespaces of its own. */
export interface ScenarioRun {
  readonly id: string;
  /** `holds`, `does not hold here`, `depends`, `as expected`, `not as expected`. */
  readonly verdict: string;
  readonly agrees: boolean;
  readonly asExpected: boolean;
  readonly cases: readonly {
    readonly when: string;
    /** What the claim says came true; null where nothing is claimed. */
    readonly holds: boolean | null;
    readonly steps: readonly ScenarioStep[];
  }[];
}

export interface ScaleRequest {
  readonly workers: number;
}

/** `ok` false: what was asked for was begun and has failed. */
export interface ActionResult {
  readonly ok: boolean;
  /** What the command would print. */
  readonly text: string;
}
